"""Hydra entry point; `python plan.py --help` explains it."""

from gapclose.runs.command_line.entry import plan

if __name__ == "__main__":
    plan()
