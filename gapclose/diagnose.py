"""`python -m gapclose.diagnose --help` explains it."""

from gapclose.runs.command_line.entry import diagnose

if __name__ == "__main__":
    diagnose()
