"""What the runs of a sweep have found: read, averaged over tasks and seeds, and compared with the control."""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.evaluation.outcomes import read_outcomes
from gapclose.evaluation.statistics import Estimate, mean_interval, rate_difference, rate_interval, ratio_interval

METHOD = ("finetune", "attack", "radii", "baseline", "adaptation", "objective")
"""What makes a method; whatever else is varied makes a scene, in which methods are compared."""
ASIDE = ("seed", "sweep", "data_dir", "num_threads", "logger", "evaluation.models")
"""What does not make a setting of its own."""
JUDGED = {"none": ("baseline", "oracle")}
"""Which models of a run make a row of results, by its `finetune`; those of all others are finetuned."""
MEASURES = {
    "success": ("open_loop", "success"),
    "success, λ = 0": ("open_loop_without_disagreement", "success"),
    "MPC success": ("mpc", "success"),
    "adapted MPC success": ("mpc_adapted", "success"),
    "model error": ("open_loop", "world_model_error"),
    "distance": ("open_loop", "goal_distance"),
}
"""What is averaged over tasks and seeds: the way to execute and the column of tasks.csv."""


class Setting(NamedTuple):
    """What several seeds of one setting have found.

    Attributes:
        method: its values of `METHOD` and of settings in these groups, as far as they vary; of the true dynamics
            `finetune=oracle`.
        scene: its other varied values.
        seeds: of its runs.
        estimates: by measure.
        against_control: differences to the control of the same scene on the same tasks and seeds, by measure; of the
            model error also the ratio, `model error ratio`; empty if there is none.
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
        One row for each model that a run is judged by: the values that its command line set, `seed`, `folder`, `judged`
        (the model) and `metrics`.

    Raises:
        UserError: there is no finished run, or one that is damaged or not of train.py.
    """
    rows, unfinished = [], 0
    for given in sorted(folder.glob("**/.hydra/overrides.yaml")):
        run = given.parents[1]
        if not (run / "metrics.json").exists():
            unfinished += 1
            continue
        try:
            metrics = json.loads((run / "metrics.json").read_text())
            overrides = [override.lstrip("+").partition("=") for override in OmegaConf.load(given)]
            values = {"finetune": metrics["finetune"], **{name: value for name, _, value in overrides}}
            models = [name for name in JUDGED.get(metrics["finetune"], ("finetuned",)) if name in metrics]
            for judged in models:
                of_model = {**values, "finetune": "oracle"} if judged == "oracle" else values
                rows.append({**of_model, "seed": metrics["seed"], "folder": run, "judged": judged, "metrics": metrics})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{run / 'metrics.json'} is damaged, or not of train.py ({type(error).__name__}); "
                "delete its folder and run its job again."
            ) from error
    if not rows:
        raise UserError(f"There is no finished run below {folder}; give the folder of a sweep.")
    return pd.DataFrame(rows), unfinished


def settings_of(runs: pd.DataFrame) -> list[Setting]:
    """The settings among runs, each with what its seeds have found; a setting comes as early as its first run."""
    names = [name for name in runs.columns if name not in (*ASIDE, "folder", "judged", "metrics")]
    varied = [name for name in names if runs[name].nunique(dropna=False) > 1] or ["finetune"]
    settings, tables = [], []
    for values, group in runs.fillna(dict.fromkeys(varied, "")).groupby(varied, sort=False):
        given = {name: value for name, value in zip(varied, values) if value}
        table = by_seed(group)
        setting = Setting(
            {name: value for name, value in given.items() if name.partition(".")[0] in METHOD},
            {name: value for name, value in given.items() if name.partition(".")[0] not in METHOD},
            sorted(group["seed"]),
            {name: estimate(name, values) for name, values in table.items() if values is not None},
            {},
            counts(group),
        )
        settings.append(setting)
        tables.append(table)
    for setting, table in zip(settings, tables):
        for control, of_control in zip(settings, tables):
            if control.method == {"finetune": "continue"} and control.scene == setting.scene and control is not setting:
                setting.against_control.update(differences(table, of_control))
    return settings


def by_seed(group: pd.DataFrame) -> dict[str, pd.DataFrame | None]:
    """By measure, outcomes with a row for each seed and a column for each task; none if a run did not execute so."""
    outcomes = {}
    for run in group.itertuples():
        table = read_outcomes(run.folder / "tasks.csv")
        outcomes[run.seed] = table[table.model == run.judged]
    found = {}
    for name, (way, column) in MEASURES.items():
        rows = {seed: table[table.way == way].set_index("task")[column] for seed, table in outcomes.items()}
        found[name] = None if any(row.empty for row in rows.values()) else pd.DataFrame(rows).T
    return found


def estimate(name: str, table: pd.DataFrame) -> Estimate:
    """The mean of a measure with its interval."""
    return (rate_interval if "success" in name else mean_interval)(table.to_numpy(float))


def differences(
    tables: dict[str, pd.DataFrame | None], of_control: dict[str, pd.DataFrame | None]
) -> dict[str, Estimate]:
    """How much more than the control, by measure, where both have it on common seeds."""
    found = {}
    for name, table in tables.items():
        control = of_control[name]
        if table is None or control is None or not len(seeds := table.index.intersection(control.index)):
            continue
        pair = table.loc[seeds].to_numpy(float), control.loc[seeds].to_numpy(float)
        found[name] = rate_difference(*pair) if "success" in name else mean_interval(pair[0] - pair[1])
        if name == "model error":
            found[f"{name} ratio"] = ratio_interval(*pair)
    return found


def counts(group: pd.DataFrame) -> dict[str, float]:
    """Means over runs of what is counted once for each; what none has is NaN."""
    rows = [
        {
            "expert_error": run.metrics[run.judged]["expert_error"],
            "gap": run.metrics[run.judged]["open_loop"]["train_test_gap"],
            "simulator_steps": run.metrics.get("simulator_steps", 0),
            "gradient_steps": run.metrics.get("gradient_steps", 0),
            "seconds": run.metrics["wall_clock_seconds"],
        }
        for run in group.itertuples()
    ]
    return pd.DataFrame(rows).astype(float).mean().to_dict()


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
