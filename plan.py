"""Hydra entry point; `python plan.py --help` explains it."""

from gapclose.runs.plan import main

if __name__ == "__main__":
    main()
