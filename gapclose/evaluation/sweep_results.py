"""What the runs of a sweep have found: read, averaged over tasks and seeds, and compared with the control."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.evaluation.outcomes import read_outcomes
from gapclose.evaluation.statistics import Estimate, mean_interval, rate_interval

METHOD = ("finetune", "attack", "radii", "baseline", "adaptation")
"""What makes a method; whatever else is varied makes a scene, in which methods are compared."""
ASIDE = ("seed", "data_dir", "num_threads", "logger", "evaluation.models")
"""What does not make a setting of its own."""
MEASURES = {
    "success": ("open_loop", "success"),
    "MPC success": ("mpc", "success"),
    "adapted MPC success": ("mpc_adapted", "success"),
    "model error": ("open_loop", "world_model_error"),
    "distance": ("open_loop", "goal_distance"),
}
"""What is averaged over tasks and seeds: the way to execute and the column of tasks.csv."""


class Setting(NamedTuple):
    """What several seeds of one setting have found.

    Attributes:
        method: its values of `METHOD`, as far as they vary.
        scene: its other varied values.
        seeds: of its runs.
        estimates: by measure.
        against_control: differences to the control of the same scene on the same tasks and seeds, by measure; empty if
            there is none.
        counts: means over the seeds of `expert_error`, `gap`, `simulator_steps`, `gradient_steps` and `seconds`.
    """

    method: dict[str, str]
    scene: dict[str, str]
    seeds: list[int]
    estimates: dict[str, Estimate]
    against_control: dict[str, Estimate]
    counts: dict[str, float]


def read_runs(folder: Path) -> tuple[pd.DataFrame, int]:
    """The finished runs below a folder, and the number of those that are not finished.

    Returns:
        One row for each run: the values that its command line set, `seed`, `folder`, and `metrics`.

    Raises:
        UserError: there is no finished run.
    """
    runs, unfinished = [], 0
    for given in sorted(folder.glob("**/.hydra/overrides.yaml")):
        run = given.parents[1]
        if not (run / "metrics.json").exists():
            unfinished += 1
            continue
        metrics = json.loads((run / "metrics.json").read_text())
        values = {"finetune": metrics["finetune"]} | dict(
            override.lstrip("+").split("=", 1) for override in OmegaConf.load(given)
        )
        runs.append({**values, "seed": metrics["seed"], "folder": run, "metrics": metrics})
    if not runs:
        raise UserError(f"There is no finished run below {folder}; give the folder of a sweep.")
    return pd.DataFrame(runs), unfinished


def settings_of(runs: pd.DataFrame) -> list[Setting]:
    """The settings among runs, each with what its seeds have found."""
    names = [name for name in runs.columns if name not in (*ASIDE, "folder", "metrics")]
    varied = [name for name in names if runs[name].nunique(dropna=False) > 1] or ["finetune"]
    settings, tables = [], []
    for values, group in runs.fillna(dict.fromkeys(varied, "")).groupby(varied, sort=False):
        given = {name: value for name, value in zip(varied, values) if value}
        table = {name: by_seed(group, *where) for name, where in MEASURES.items()}
        setting = Setting(
            {name: value for name, value in given.items() if name in METHOD},
            {name: value for name, value in given.items() if name not in METHOD},
            sorted(group["seed"]),
            {name: estimate(name, values) for name, values in table.items() if values is not None},
            {},
            counts(group["metrics"].tolist()),
        )
        settings.append(setting)
        tables.append(table)
    for setting, table in zip(settings, tables):
        for control, of_control in zip(settings, tables):
            if control.method == {"finetune": "continue"} and control.scene == setting.scene and control is not setting:
                setting.against_control.update(difference(table, of_control))
    return settings


def by_seed(group: pd.DataFrame, way: str, column: str) -> pd.DataFrame | None:
    """Outcomes with a row for each seed and a column for each task; none if a run did not execute in this way."""
    rows = {}
    for run in group.itertuples():
        table = read_outcomes(run.folder / "tasks.csv")
        table = table[(table.model == judged(run.metrics)) & (table.way == way)]
        if table.empty:
            return None
        rows[run.seed] = table.set_index("task")[column]
    return pd.DataFrame(rows).T


def judged(metrics: dict[str, Any]) -> str:
    """Which model of a run its setting is judged by."""
    return "baseline" if metrics["finetune"] == "none" else "finetuned"


def estimate(name: str, table: pd.DataFrame) -> Estimate:
    """The mean of a measure with its interval."""
    return (rate_interval if "success" in name else mean_interval)(table.to_numpy())


def difference(
    tables: dict[str, pd.DataFrame | None], of_control: dict[str, pd.DataFrame | None]
) -> dict[str, Estimate]:
    """How much more than the control, by measure, where both have it on common seeds."""
    differences = {}
    for name, table in tables.items():
        control = of_control[name]
        if table is not None and control is not None and len(seeds := table.index.intersection(control.index)):
            differences[name] = mean_interval((table.loc[seeds] - control.loc[seeds]).to_numpy(float))
    return differences


def counts(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Means over runs of what is counted once for each."""
    rows = [
        {
            "expert_error": of_run[judged(of_run)]["expert_error"],
            "gap": of_run[judged(of_run)]["open_loop"]["train_test_gap"],
            "simulator_steps": of_run.get("simulator_steps") or 0,
            "gradient_steps": of_run.get("gradient_steps") or 0,
            "seconds": of_run["wall_clock_seconds"],
        }
        for of_run in metrics
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def summary(settings: list[Setting]) -> pd.DataFrame:
    """All of it as a table with one row for each setting, for summary.csv."""
    rows = []
    for setting in settings:
        row = {**setting.scene, **setting.method, "seeds": " ".join(map(str, setting.seeds))}
        for suffix, estimates in (("", setting.estimates), (" minus control", setting.against_control)):
            for name, value in estimates.items():
                row |= {f"{name}{suffix}{end}": number for end, number in zip(("", " low", " high"), value)}
        rows.append(row | setting.counts)
    return pd.DataFrame(rows)
