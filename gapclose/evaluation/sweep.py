"""What a sweep has found: python -m gapclose.evaluation.sweep multirun/DIR [--page docs/results/PAGE.md].

Reads the folders of finished runs, averages over tasks and seeds, compares every setting with the control
(finetune=continue) on the same tasks and seeds, prints the table and writes summary.csv into the folder.
"""

import argparse
import sys
from pathlib import Path

from gapclose.errors import UserError
from gapclose.evaluation.report import print_table
from gapclose.evaluation.sweep_page import CAPTION, table_of, write_page
from gapclose.evaluation.sweep_results import read_runs, settings_of, summary
from gapclose.files import replacing


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the sweep")
    parser.add_argument("--page", type=Path, help="Markdown page whose generated part is written anew")
    args = parser.parse_args()
    try:
        conclude(args.folder, args.page)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


def conclude(folder: Path, page: Path | None = None) -> None:
    """Prints what the finished runs of a sweep have found, and leaves it in the sweep's folder.

    Args:
        folder: of the sweep.
        page: a Markdown page whose generated part is written anew.

    Raises:
        UserError: there is no finished run, or the page has no place for the results.
    """
    runs, unfinished = read_runs(folder)
    settings = settings_of(runs)
    with replacing(folder / "summary.csv") as temporary:
        summary(settings).to_csv(temporary, index=False)
    columns, rows = table_of(settings)
    print_table(rows, f"{folder}: {len(runs)} runs, {unfinished} unfinished", columns, CAPTION)
    if page:
        write_page(page, settings)


if __name__ == "__main__":
    main()
