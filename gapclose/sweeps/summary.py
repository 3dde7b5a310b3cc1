"""The summary of a sweep: a table on the terminal, and CSV files and pictures in its folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gapclose.errors import UserError
from gapclose.evaluation.tables import print_table
from gapclose.files import replacing
from gapclose.sweeps.page import write_page
from gapclose.sweeps.plots import draw_sweep
from gapclose.sweeps.results import SweepResults, has_control, read_results, summary, timings
from gapclose.sweeps.runs import Missing
from gapclose.sweeps.table import caption, sentences, table_of

NAMED = 10
"""How many runs without results are named one by one; failures.csv names all."""


def summarize_sweep(folder: Path, page: Path | None = None) -> SweepResults:
    """Prints what the finished runs of a sweep have found, and leaves it in the sweep's folder.

    Args:
        folder: of the sweep.
        page: a Markdown page whose generated part is written anew.

    Returns:
        What was read there.

    Raises:
        UserError: there is no finished run, or the page has no place for the results.
        OSError: a file cannot be written.
    """
    results = read_results(folder)
    runs, missing, settings = results.runs, results.missing, results.settings
    write_missing(folder, missing)
    if not runs:
        print_missing(missing)
        raise UserError(
            f"There is no finished run below {folder} ({counted(missing)}); give the folder of a sweep of train.py."
        )
    columns, rows = table_of(settings)
    title = ", ".join(filter(None, [f"{folder}: {len(runs)} run{'s' * (len(runs) != 1)}", counted(missing)]))
    print_table(rows, title, columns, caption(settings), grouped=has_control(settings))
    for sentence in sentences(settings):
        print(sentence)
    print_missing(missing)
    for name, table in {"summary.csv": summary(settings), "timings.csv": timings(settings)}.items():
        write_csv(folder / name, table)
    draw_sweep(settings, folder)
    if page:
        write_page(page, settings)
    return results


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes the file whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_missing(folder: Path, missing: Sequence[Missing]) -> None:
    """Leaves the runs without results in failures.csv; where there are none, no such file."""
    if missing:
        write_csv(folder / "failures.csv", pd.DataFrame(missing).rename(columns={"folder": "run"}))
    elif (folder / "failures.csv").is_file():
        (folder / "failures.csv").unlink()


def print_missing(missing: Sequence[Missing]) -> None:
    """Names the runs without results, those that have a reason to tell first."""
    told = [run for run in missing if run.reason]
    for run in told[:NAMED]:
        print(f"{run.folder} {run.state}: {run.reason}")
    if len(told) > NAMED:
        print(f"… and {len(told) - NAMED} others: failures.csv")


def counted(missing: Sequence[Missing]) -> str:
    """How many runs there are of each state."""
    states = [run.state for run in missing]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
