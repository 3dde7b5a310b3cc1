"""The table of a sweep: python -m gapclose.sweeps multirun/DIR [--page docs/results/PAGE.md].

Reads the folders of finished runs, averages over tasks and seeds, compares on the same tasks and seeds with the control
(finetune=continue) or, where there is none, with the model before finetuning, prints the table, and writes summary.csv,
timings.csv, pictures, and failures.csv, if there are such, into the folder.
"""

import argparse
from pathlib import Path

from gapclose.errors import command
from gapclose.sweeps.summary import summarize_sweep


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m gapclose.sweeps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="of the sweep")
    parser.add_argument("--page", type=Path, help="Markdown page whose generated part is written anew")
    args = parser.parse_args()
    with command():
        summarize_sweep(args.folder, args.page)


if __name__ == "__main__":
    main()
