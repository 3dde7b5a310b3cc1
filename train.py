"""Hydra entry point; `python train.py --help` explains it."""

from gapclose.runs.train import main

if __name__ == "__main__":
    main()
