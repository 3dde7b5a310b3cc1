"""Entry point of `python train.py`; `--help` explains it. The code is in `gapclose.runs.jobs.train`."""

from gapclose.runs.command_line.entry import train

if __name__ == "__main__":
    train()
