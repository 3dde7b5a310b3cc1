"""Prints the table of a sweep: python -m gapclose.sweeps multirun/DIR [--page docs/results/PAGE.md].

Reads the folders of finished runs, averages over tasks and seeds, and compares on the same tasks and seeds with the
control (finetune=continue) or, without a control, with the model before finetuning. Prints the table, and writes
summary.csv, timings.csv and pictures into the folder, and failures.csv if runs have failed.
"""

import argparse
from pathlib import Path

from gapclose.errors import reporting_errors
from gapclose.sweeps.summary import summarize_sweep


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m gapclose.sweeps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of the sweep")
    parser.add_argument("--page", type=Path, help="Markdown page whose generated part is replaced")
    args = parser.parse_args()
    with reporting_errors():
        summarize_sweep(args.folder, args.page)


if __name__ == "__main__":
    main()
