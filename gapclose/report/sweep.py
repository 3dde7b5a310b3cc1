"""The report of a sweep: which setting is best, what matters, and the way to every run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from gapclose.errors import UserError
from gapclose.evaluation.statistics import Estimate, number
from gapclose.evaluation.tables import percent
from gapclose.report.page import PAGE, write_page
from gapclose.report.sweep_figures import effects_section, heat_section, outcome_section, parallel_section
from gapclose.sweeps.effects import SEED, effects, learned, span
from gapclose.sweeps.results import Setting, SweepResults, read_results
from gapclose.sweeps.runs import Missing, Value
from gapclose.sweeps.table import best_first, caption, describe, label, sentences, table_of


def write_sweep_report(folder: Path, results: SweepResults | None = None) -> Path:
    """Writes `report.html` of the finished runs below a folder.

    Args:
        folder: of the sweep.
        results: what lies in it, if that is known already.

    Raises:
        UserError: there is no finished run.
    """
    results = results or read_results(folder)
    settings = results.settings
    if not settings:
        raise UserError(f"There is no finished run below {folder}; give the folder of a run or of a sweep.")
    table = by_run(results)
    keys = [*results.keys, *([SEED] if table[SEED].nunique() > 1 else [])]
    columns, rows = table_of(settings)
    judged = learned(settings)
    found = effects(judged)
    sections = [
        outcome_section([(name_of(setting), setting.estimates) for setting in best_first(settings)]),
        effects_section(found),
        parallel_section(table, keys),
        heat_section(judged, [key for key in found if key != SEED]),
    ]
    counted = {"runs": len(results.runs), "settings": len(settings), "without results": len(results.missing)}
    return write_page(
        folder / PAGE,
        "sweep.html",
        list(filter(None, sections)),
        title=headline(judged),
        findings=[*findings(found), *sentences(settings)],
        facts=list(counted.items()),
        columns=columns,
        rows=rows,
        caption=f"{caption(settings)}; click on a column's head to sort by it",
        keys=keys,
        runs=[run_row(run, keys, folder) for run in table.to_dict("records")],
        missing=[missing_row(run, folder) for run in results.missing],
    )


def by_run(results: SweepResults) -> pd.DataFrame:
    """One row for each run of a learned model: what was set, and what came of it open loop.

    Where a sweep holds nothing but runs of the true dynamics, these.
    """
    judged = [(run, model) for run in results.runs for model in run.evaluated_models]
    rows = []
    for run, model in [(run, model) for run, model in judged if model != "oracle"] or judged:
        found = run.metrics[model]["open_loop"]
        outcome = {"success": found["success_rate"], "model error": found["world_model_error"]}
        rows.append({**{key: run.value(key) for key in results.keys}, "seed": run.seed, "folder": run.folder} | outcome)
    return pd.DataFrame(rows)


def headline(settings: list[Setting]) -> str:
    """Which setting of learned models is best, in one sentence."""
    best = best_first(settings)[0]
    success = percent(best.estimates["success"].mean)
    what = f"Best of {len(settings)} settings is {name_of(best)}" if len(settings) > 1 else name_of(best)
    return f"{what}: {success} of its plans reach their goal."


def name_of(setting: Setting) -> str:
    """A setting in words."""
    return ", ".join([label(setting), *describe(setting.condition)])


def findings(found: Mapping[str, Mapping[Value, Estimate]]) -> list[str]:
    """What matters most, in sentences, of what `effects` has found."""
    key = next((key for key in found if key != SEED), None)
    if key is None:
        return []
    effect = found[key]
    worst, *_, best = sorted(effect, key=lambda value: effect[value].mean)
    sentences = [
        f"What matters most is {key}: where all else is equal, {percent(effect[worst].mean)} of the plans reach their "
        f"goal with {worst} and {percent(effect[best].mean)} with {best}."
    ]
    if SEED in found:
        sentences.append(f"Seeds alone make a difference of {100 * span(found[SEED]):.0f} points.")
    return sentences


def run_row(run: dict[str, Any], keys: list[str], folder: Path) -> dict[str, Any]:
    """A line of the list of runs: the link relative to the report, what was set, what came of it."""
    path, error = Path(run["folder"]), run["model error"]
    return {
        "name": path.as_posix(),
        "link": link_to(path / PAGE if (folder / path / PAGE).exists() else path),
        "values": [run[key] for key in keys],
        "success": f"{run['success']:.2f}",
        "error": number(error),
    }


def link_to(path: Path) -> str:
    """The address of a file relative to the report; a folder's name may hold `%`, `#`, or what looks like `http:`."""
    return f"./{quote(path.as_posix(), safe='/=,')}"


def missing_row(run: Missing, folder: Path) -> dict[str, str]:
    """A line of the list of runs without results: their folder, the file to look into, and why."""
    path = Path(run.folder)
    files = (name for name in ("error.txt", "train.log") if (folder / path / name).exists())
    link = link_to(path / next(files, ""))
    return {"name": path.as_posix(), "link": link, "state": run.state, "reason": run.reason}
