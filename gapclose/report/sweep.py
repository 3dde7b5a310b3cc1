"""The report of a sweep: the best setting, main effects and links to all runs.

Its charts are in `gapclose.report.sweep_figures`, its table in `gapclose.sweeps.table`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from gapclose.errors import UserError
from gapclose.evaluation.statistics import Estimate, number
from gapclose.evaluation.tables import percent
from gapclose.report.page import PAGE, write_page
from gapclose.report.sweep_figures import sweep_sections
from gapclose.sweeps.effects import SEED, effects, span, without_oracle
from gapclose.sweeps.results import Setting, SweepResults, read_results
from gapclose.sweeps.runs import Missing, Value
from gapclose.sweeps.table import best_first, caption, full_name, sentences, table_of


def write_sweep_report(folder: Path, results: SweepResults | None = None) -> Path:
    """Writes `report.html` of the finished runs below a folder.

    Args:
        folder: of the sweep.
        results: of the sweep, if already read.

    Raises:
        UserError: no run has finished.
    """
    results = results or read_results(folder)
    settings = results.settings
    if not settings:
        raise UserError(f"There is no finished run below {folder}; give the folder of a run or of a sweep.")
    table = by_run(results)
    keys = [*results.keys, *([SEED] if table[SEED].nunique() > 1 else [])]
    columns, rows = table_of(settings)
    learned_settings = without_oracle(settings)
    main_effects = effects(learned_settings)
    counts = {"runs": len(results.runs), "settings": len(settings), "without results": len(results.missing)}
    return write_page(
        folder / PAGE,
        "sweep.html",
        sweep_sections(settings, main_effects, table, keys),
        title=headline(learned_settings),
        findings=[*findings(main_effects), *sentences(settings)],
        facts=list(counts.items()),
        columns=columns,
        rows=rows,
        caption=f"{caption(settings)}; click on a column heading to sort by it",
        keys=keys,
        runs=[run_row(run, keys, folder) for run in table.to_dict("records")],
        missing=[missing_row(run, folder) for run in results.missing],
    )


def by_run(results: SweepResults) -> pd.DataFrame:
    """Tabulates the runs of learned models: the values of the varied keys, and the open-loop results.

    If all runs are of the true dynamics, it has these.
    """
    evaluated = [(run, model) for run in results.runs for model in run.evaluated_models]
    rows = []
    for run, model in [(run, model) for run, model in evaluated if model != "oracle"] or evaluated:
        error = run.metrics[model]["open_loop"].get("world_model_error")
        outcome = {"success": run.outcomes[model, "open_loop"].success.mean(), "model error": error}
        rows.append({**{key: run.value(key) for key in results.keys}, "seed": run.seed, "folder": run.folder} | outcome)
    return pd.DataFrame(rows)


def headline(settings: list[Setting]) -> str:
    """Names the best setting in one sentence."""
    best = best_first(settings)[0]
    success = percent(best.estimates["success"].mean)
    what = f"Best of {len(settings)} settings is {full_name(best)}" if len(settings) > 1 else full_name(best)
    return f"{what}: {success} of its plans reach their goal."


def findings(main_effects: Mapping[str, Mapping[Value, Estimate]]) -> list[str]:
    """Describes the largest of the main effects in sentences, with that of the seed for comparison."""
    key = next((key for key in main_effects if key != SEED), None)
    if key is None:
        return []
    effect = main_effects[key]
    worst, *_, best = sorted(effect, key=lambda value: effect[value].mean)
    sentences = [
        f"The setting that matters most is {key}: with all else equal, {percent(effect[worst].mean)} of plans reach "
        f"their goal with {worst} and {percent(effect[best].mean)} with {best}."
    ]
    if SEED in main_effects:
        sentences.append(f"The seed alone makes a difference of {100 * span(main_effects[SEED]):.0f} points.")
    return sentences


def run_row(run: dict[str, Any], keys: list[str], folder: Path) -> dict[str, Any]:
    """A row of the list of runs: name, relative link, values and results."""
    path, error = Path(run["folder"]), run["model error"]
    return {
        "name": path.as_posix(),
        "link": link_to(path / PAGE if os.path.exists(folder / path / PAGE) else path),
        "values": [run[key] for key in keys],
        "success": f"{run['success']:.2f}",
        "error": number(error),
    }


def link_to(path: Path) -> str:
    """The link to a file relative to the report; names of folders may contain `%`, `#`, or look like `http:`."""
    return f"./{quote(path.as_posix(), safe='/=,', errors='surrogateescape')}"


def missing_row(run: Missing, folder: Path) -> dict[str, str]:
    """An entry of the list of runs without results: its folder, a link to its error or log, and the reason."""
    path = Path(run.folder)
    files = (name for name in ("error.txt", "train.log") if os.path.exists(folder / path / name))
    link = link_to(path / next(files, ""))
    return {"name": path.as_posix(), "link": link, "state": run.state, "reason": run.reason}
