"""Entry point of `python plan.py`; `--help` explains it. The code is in `gapclose.runs.jobs.plan`."""

from gapclose.runs.command_line.entry import plan

if __name__ == "__main__":
    plan()
