"""Writes `report.html` again from the files in the folder of a run or of a sweep: python -m gapclose.report FOLDER."""

import argparse
from pathlib import Path

from gapclose.errors import reporting_errors
from gapclose.report.folder import write_report


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m gapclose.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of a run of train.py, or of a sweep")
    with reporting_errors():
        print(f"Open {write_report(parser.parse_args().folder)} in a browser.")


if __name__ == "__main__":
    main()
