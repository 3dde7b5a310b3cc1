"""Summarises a sweep: prints its table, and writes CSV files and pictures into its folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gapclose.csv_files import write_csv
from gapclose.errors import UserError
from gapclose.evaluation.tables import print_table
from gapclose.printable import printable
from gapclose.sweeps.csv_tables import summary, timings
from gapclose.sweeps.page import write_page
from gapclose.sweeps.plots import draw_sweep
from gapclose.sweeps.results import SweepResults, has_control, read_results
from gapclose.sweeps.runs import Missing
from gapclose.sweeps.table import caption, sentences, table_of

NAMED = 10
"""How many runs without results are printed; failures.csv has all."""


def summarize_sweep(folder: Path, page: Path | None = None) -> SweepResults:
    """Prints the results of the finished runs of a sweep, and writes them into its folder.

    Args:
        folder: folder of the sweep.
        page: a Markdown page whose generated part is replaced.

    Returns:
        The results that were read.

    Raises:
        UserError: no run has finished, or the page lacks the marks for the results.
        OSError: a file cannot be written.
    """
    results = read_results(folder)
    runs, missing, settings = results.runs, results.missing, results.settings
    write_missing(folder, missing)
    if not runs:
        print_missing(missing)
        raise UserError(
            f"There is no finished run below {folder} ({count_states(missing)}); "
            "give the folder of a sweep of train.py."
        )
    columns, rows = table_of(settings)
    title = ", ".join(filter(None, [f"{folder}: {len(runs)} run{'s' * (len(runs) != 1)}", count_states(missing)]))
    print_table(rows, title, columns, caption(settings), grouped=has_control(settings))
    for sentence in sentences(settings):
        print(printable(sentence))
    print_missing(missing)
    for name, table in {"summary.csv": summary(settings), "timings.csv": timings(settings)}.items():
        write_csv(folder / name, table)
    draw_sweep(settings, folder)
    if page:
        write_page(page, settings)
    return results


def write_missing(folder: Path, missing: Sequence[Missing]) -> None:
    """Writes the runs without results to failures.csv; removes an older file if there are none."""
    if missing:
        write_csv(folder / "failures.csv", pd.DataFrame(missing).rename(columns={"folder": "run"}))
    elif (folder / "failures.csv").is_file():
        (folder / "failures.csv").unlink()


def print_missing(missing: Sequence[Missing]) -> None:
    """Prints the runs without results that have a reason."""
    explained = [run for run in missing if run.reason]
    for run in explained[:NAMED]:
        print(printable(f"{run.folder} {run.state}: {run.reason}"))
    if len(explained) > NAMED:
        print(f"… and {len(explained) - NAMED} others: failures.csv")


def count_states(missing: Sequence[Missing]) -> str:
    """Counts the runs in each state, in words."""
    states = [run.state for run in missing]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
