"""The report of a sweep: which setting is best, what matters, and the way to every run."""

from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.evaluation.sweep_page import CAPTION, label, table_of
from gapclose.evaluation.sweep_results import ASIDE, Setting, read_runs, settings_of
from gapclose.report.page import PAGE, write_page
from gapclose.report.sweep_figures import effects, effects_section, heat_section, outcome_section, parallel_section

ORACLE = "oracle"


def write_sweep_report(folder: Path) -> Path:
    """Writes `report.html` of the finished runs below a folder.

    Raises:
        UserError: there is no finished run, or one is damaged.
    """
    runs, _ = read_runs(folder)
    settings = settings_of(runs)
    table = by_run(runs)
    keys = swept(table)
    columns, rows = table_of(settings)
    sections = [
        outcome_section({name_of(setting): setting.estimates for setting in settings}),
        effects_section(table, keys),
        parallel_section(table, keys),
        heat_section(table, keys),
    ]
    failed = unfinished(folder)
    counted = {"runs": table["folder"].nunique(), "settings": len(settings), "not finished": len(failed)}
    return write_page(
        folder / PAGE,
        "sweep.html",
        list(filter(None, sections)),
        title=headline(settings),
        findings=findings(table, keys),
        facts=list(counted.items()),
        columns=columns,
        rows=rows,
        caption=f"{CAPTION}; click on a column's head to sort by it",
        keys=keys,
        runs=[run_row(run, keys, folder) for run in table.to_dict("records")],
        failed=failed,
    )


def by_run(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each run of a learned model: what was set, and what came of it open loop.

    Where a sweep holds nothing but runs of the true dynamics, these.
    """
    learned = runs[runs["judged"] != ORACLE]
    runs = (learned if len(learned) else runs).drop(columns="judged")
    judged = learned["judged"] if len(learned) else pd.Series(ORACLE, index=runs.index)
    results = [metrics[name]["open_loop"] for metrics, name in zip(runs["metrics"], judged)]
    found = runs.drop(columns="metrics").reset_index(drop=True)
    found["success"] = [result["success_rate"] for result in results]
    found["model error"] = [result["world_model_error"] for result in results]
    return found


def swept(table: pd.DataFrame) -> list[str]:
    """The settings that vary between runs, the seed last."""
    results = ("folder", "success", "model error")
    varied = [name for name in table if name not in results and table[name].nunique(dropna=False) > 1]
    return [name for name in varied if name not in ASIDE] + [name for name in varied if name == "seed"]


def headline(settings: list[Setting]) -> str:
    """Which setting is best, in one sentence."""
    learned = [setting for setting in settings if setting.method.get("finetune") != ORACLE] or settings
    best = max(learned, key=lambda setting: setting.estimates["success"].mean)
    success = f"{best.estimates['success'].mean:.0%}".replace("%", " %")
    what = f"Best of {len(learned)} settings is {name_of(best)}" if len(learned) > 1 else name_of(best)
    return f"{what}: {success} of its plans reach their goal."


def name_of(setting: Setting) -> str:
    """A setting in words."""
    return ", ".join([label(setting), *setting.scene.values()])


def findings(table: pd.DataFrame, keys: list[str]) -> list[str]:
    """What matters most, in sentences."""
    found = effects(table, keys)
    seeds = found.pop("seed", None)
    if not found:
        return []
    key, means = next(iter(found.items()))
    sentences = [
        f"What matters most is {key}: where all else is equal, {means.iloc[0]:.0%} of the plans reach their goal with "
        f"{means.index[0]} and {means.iloc[-1]:.0%} with {means.index[-1]}.".replace("%", " %")
    ]
    if seeds is not None:
        sentences.append(f"Seeds alone make a difference of {100 * (seeds.iloc[-1] - seeds.iloc[0]):.0f} points.")
    return sentences


def run_row(run: dict[str, Any], keys: list[str], folder: Path) -> dict[str, Any]:
    """A line of the list of runs: the link relative to the report, what was set, what came of it."""
    path, error = run["folder"], run["model error"]
    page = path / PAGE if (path / PAGE).exists() else path
    return {
        "name": path.relative_to(folder).as_posix(),
        "link": page.relative_to(folder).as_posix(),
        "values": [run[key] if isinstance(run[key], str | int) else "" for key in keys],
        "success": f"{run['success']:.2f}",
        "error": "–" if error is None or error != error else f"{error:.2g}",
    }


def unfinished(folder: Path) -> list[dict[str, str]]:
    """The jobs that left no metrics: their folder, the file to look into, and what they were to do."""
    jobs = []
    for given in sorted(folder.glob("**/.hydra/overrides.yaml")):
        run = given.parents[1]
        if (run / "metrics.json").exists():
            continue
        log = run / "train.log"
        link = (log if log.exists() else run).relative_to(folder).as_posix()
        try:
            overrides = " ".join(OmegaConf.load(given))
        except Exception as error:
            raise UserError(f"{given} cannot be read ({type(error).__name__}); delete the folder {run}.") from error
        jobs.append({"name": run.relative_to(folder).as_posix(), "link": link, "overrides": overrides})
    return jobs
