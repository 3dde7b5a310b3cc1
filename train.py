"""Hydra entry point; `python train.py --help` explains it."""

from gapclose.runs.command_line.entry import train

if __name__ == "__main__":
    train()
