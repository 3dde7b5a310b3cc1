"""Entry point of `python -m gapclose.diagnose`; `--help` explains it. The code is in `gapclose.runs.jobs.diagnose`."""

from gapclose.runs.command_line.entry import diagnose

if __name__ == "__main__":
    diagnose()
