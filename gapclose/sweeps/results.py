"""What the runs of a sweep have found: averaged over tasks and seeds, and compared with a reference on the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gapclose.evaluation.paired import Paired, compare_errors, compare_rates
from gapclose.evaluation.statistics import Estimate, mean_interval, rate_interval, ratio_interval
from gapclose.progress import track
from gapclose.sweeps.runs import Missing, Run, Value, order, read_runs, varied_keys, without_repeats

METHOD = ("finetune", "attack", "radii", "baseline", "adaptation", "objective")
"""What makes a method; whatever else is varied makes a scene, in which methods are compared."""
CONTROL = "continue"
"""The `finetune` that others are compared with: as many gradient steps on the same data alone."""
ORACLE = "oracle"
"""What rows of the true dynamics have in the place of a `finetune`."""
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
        outcomes: by measure, a row for each seed and a column for each task.
        estimates: by measure.
        reference: what it is compared with: `control`, the run of the same scene with `finetune=continue`, or, in a
            sweep without such, `baseline`, its own model before finetuning; empty if there is none.
        control: the method of the control.
        against: by measure, on the tasks and seeds that both have.
        closed: by measure of success, the share of the way from the control to the true dynamics, planned with alike;
            none where these are not clearly better than the control.
        counts: means over the seeds of `expert_error`, `gap`, `simulator_steps` and `gradient_steps`.
        seconds: means over the seeds of what took time: `run`, and by way to execute `planning`.
    """

    method: dict[str, Value]
    scene: dict[str, Value]
    seeds: list[int]
    outcomes: dict[str, pd.DataFrame]
    estimates: dict[str, Estimate]
    reference: str
    control: dict[str, Value]
    against: dict[str, Paired]
    closed: dict[str, Estimate]
    counts: dict[str, float]
    seconds: dict[str, float]

    @property
    def values(self) -> dict[str, Value]:
        """Of everything that is varied."""
        return self.scene | self.method


class SweepResults(NamedTuple):
    """All that there is of a sweep.

    Attributes:
        runs: the finished ones, no two of them with equal values and seeds.
        missing: the others.
        keys: the settings and groups that are varied.
        settings: what the runs have found; empty if there are none.
    """

    runs: list[Run]
    missing: list[Missing]
    keys: list[str]
    settings: list[Setting]


def read_results(folder: Path) -> SweepResults:
    """What lies in the folder of a sweep.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    runs, missing = read_runs(folder)
    keys = varied_keys(runs)
    runs, repeated = without_repeats(runs, keys)
    return SweepResults(runs, sorted([*missing, *repeated]), keys, settings_of(runs, keys) if runs else [])


def settings_of(runs: Sequence[Run], keys: Sequence[str]) -> list[Setting]:
    """The settings among runs in a fixed order, each with what its seeds have found.

    Args:
        runs: no two of them with equal values and seeds.
        keys: the settings and groups that are varied.
    """
    groups: dict[tuple[Value, ...], list[tuple[Run, str]]] = {}
    keys = sorted({*keys, *(["finetune"] if needs_finetune(runs, keys) else [])}, key=lambda key: (of_method(key), key))
    for run in sorted(runs, key=lambda run: run.seed):
        for judged in run.judged:
            values = tuple(ORACLE if judged == "oracle" and key == "finetune" else run.value(key) for key in keys)
            groups.setdefault(values, []).append((run, judged))
    ordered = sorted(groups, key=lambda values: [order(value) for value in values])
    settings = [
        setting_of(dict(zip(keys, values)), groups[values]) for values in track(ordered, "Averaging", "setting")
    ]
    if has_control(settings):
        return [against_control(setting, settings) for setting in settings]
    return [against_baseline(setting, group) for setting, group in zip(settings, (groups[key] for key in ordered))]


def of_method(key: str) -> bool:
    """Whether a setting or group makes a method, not a scene."""
    return key.partition(".")[0] in METHOD


def needs_finetune(runs: Sequence[Run], keys: Sequence[str]) -> bool:
    """Whether rows have to say what finetuning they are of: the true dynamics stand beside baselines, or all is one."""
    return not keys or any("oracle" in run.judged for run in runs)


def setting_of(values: dict[str, Value], group: Sequence[tuple[Run, str]]) -> Setting:
    """One setting, not yet compared with any other."""
    outcomes = by_seed(group)
    method = {name: value for name, value in values.items() if of_method(name)}
    return Setting(
        method=method,
        scene={name: value for name, value in values.items() if name not in method},
        seeds=[run.seed for run, _ in group],
        outcomes=outcomes,
        estimates={name: averaged(name, table) for name, table in outcomes.items()},
        reference="",
        control={},
        against={},
        closed={},
        counts=mean_of([counts(run.metrics, judged) for run, judged in group]),
        seconds=mean_of([seconds(run.metrics, judged) for run, judged in group]),
    )


def outcomes_of(run: Run, model: str, measure: str) -> pd.Series:
    """A measure of a model of a run, by task; empty if it did not execute so."""
    way, column = MEASURES[measure]
    table = run.outcomes.get((model, way))
    return pd.Series(dtype=float) if table is None else table[column]


def by_seed(group: Sequence[tuple[Run, str]]) -> dict[str, pd.DataFrame]:
    """By measure, outcomes with a row for each seed and a column for each task; those that all runs have."""
    found = {}
    for name in MEASURES:
        rows = {run.seed: outcomes_of(run, judged, name) for run, judged in group}
        if all(len(row) for row in rows.values()):
            found[name] = pd.DataFrame(rows).T
    return found


def averaged(name: str, table: pd.DataFrame) -> Estimate:
    """The mean of a measure with its interval."""
    return (rate_interval if "success" in name else mean_interval)(table.to_numpy(float))


def counts(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """What is counted once for each run; of a baseline and of the true dynamics there are no steps."""
    found = metrics[model]
    return {
        "expert_error": found["expert_error"],
        "gap": found["open_loop"]["train_test_gap"],
        **{name: metrics.get(name, 0) for name in ("simulator_steps", "gradient_steps")},
    }


def seconds(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """What took time in a run."""
    ways = {way: found for way, found in metrics[model].items() if isinstance(found, dict)}
    planning = {f"planning, {way}": found.get("planning_seconds") for way, found in ways.items()}
    return {"run": metrics.get("wall_clock_seconds"), **planning}


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over rows; NaN for what one of them lacks, such as the gap of a model that diverged: the mean of the others
    would look better than the seeds are.
    """
    return pd.DataFrame(rows).astype(float).mean(skipna=False).to_dict()


def has_control(settings: Sequence[Setting]) -> bool:
    """Whether the sweep is one of methods in scenes: one of its methods is the control of the others."""
    methods = {setting.method.get("finetune") for setting in settings}
    return CONTROL in methods and len(methods) > 1


def against_control(setting: Setting, settings: Sequence[Setting]) -> Setting:
    """The setting compared with the control of its scene; of several with that which has most in common with it."""
    controls, oracles = (
        [one for one in settings if one.method["finetune"] == name and one.scene == setting.scene]
        for name in (CONTROL, ORACLE)
    )
    if any(one is setting for one in controls):
        # A control is compared with none, but named by what makes it differ from the other, if there are two.
        others = [one for one in controls if one is not setting] or [setting]
        return setting._replace(control=others[0].method)
    if not controls:
        return setting
    control = likest(setting, controls)
    against = compare(setting.outcomes, control.outcomes)
    closed = {}
    if oracles and setting.method["finetune"] != ORACLE:
        closed = shares_closed(setting.outcomes, control.outcomes, likest(setting, oracles).outcomes)
    return setting._replace(
        reference="control" if against else "", control=control.method, against=against, closed=closed
    )


def likest(setting: Setting, others: Sequence[Setting]) -> Setting:
    """The one whose method has most in common with that of the setting."""
    return max(others, key=lambda one: sum(one.method[name] == value for name, value in setting.method.items()))


def against_baseline(setting: Setting, group: Sequence[tuple[Run, str]]) -> Setting:
    """The setting compared with what its own runs were before finetuning, if they tell."""
    if not all(judged == "finetuned" and "baseline" in run.metrics for run, judged in group):
        return setting
    before = by_seed([(run, "baseline") for run, _ in group])
    return setting._replace(reference="baseline", against=compare(setting.outcomes, before))


def compare(tables: dict[str, pd.DataFrame], of_reference: dict[str, pd.DataFrame]) -> dict[str, Paired]:
    """How much better than the reference, by measure, where both have it on common seeds and tasks."""
    found = {}
    for name in [name for name in tables if name in of_reference]:
        table, reference = tables[name].align(of_reference[name], join="inner")
        if table.size:
            versus = compare_rates if "success" in name else compare_errors
            found[name] = versus(table.to_numpy(float), reference.to_numpy(float))
    return found


def shares_closed(
    tables: dict[str, pd.DataFrame], of_control: dict[str, pd.DataFrame], of_oracle: dict[str, pd.DataFrame]
) -> dict[str, Estimate]:
    """Which share of the way from the control's success to the oracle's is gone, by measure, on common seeds and tasks.

    Nothing of the oracle is trained: one seed of it serves all, and of several the mean. Where the oracle is not better
    than the control by more than the interval of the difference, there is no way to speak of.
    """
    found = {}
    for name in [name for name in tables if "success" in name and name in of_control and name in of_oracle]:
        table, control = tables[name].align(of_control[name], join="inner")
        oracle = of_oracle[name].astype(float).mean()
        tasks = table.columns.intersection(oracle.index)
        before = control[tasks].to_numpy(float)
        way, gone = oracle[tasks].to_numpy() - before, table[tasks].to_numpy(float) - before
        if way.size and mean_interval(way).low > 0:
            found[name] = ratio_interval(gone, way)
    return found


def summary(settings: Sequence[Setting]) -> pd.DataFrame:
    """All numbers but timings, with one row for each setting, for summary.csv; equal runs make equal rows."""
    return whole([identity(setting) | numbers(setting) for setting in settings])


def timings(settings: Sequence[Setting]) -> pd.DataFrame:
    """The seconds that a run took, and planning in it, with one row for each setting."""
    return whole([identity(setting) | setting.seconds for setting in settings])


def whole(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table without the columns that none of them fills."""
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def identity(setting: Setting) -> dict[str, Any]:
    """What tells a setting from others."""
    return setting.values | {"seeds": " ".join(map(str, setting.seeds))}


def numbers(setting: Setting) -> dict[str, Any]:
    """All that a setting has found, in an order that does not depend on what that is."""
    row: dict[str, Any] = {}
    for name in MEASURES:
        row |= spread(name, setting.estimates.get(name))
    for name in MEASURES:
        for reference in ("control", "baseline"):
            paired = setting.against.get(name) if setting.reference == reference else None
            row |= spread(f"{name} minus {reference}", paired and paired.difference)
            row[f"{name} minus {reference} P(better)"] = paired and paired.better
            if "success" in name:
                row[f"{name} minus {reference} gained"] = paired and paired.gained
                row[f"{name} minus {reference} lost"] = paired and paired.lost
                row[f"{name} minus {reference} p"] = paired and paired.p_value
            else:
                row |= spread(f"{name} / {reference}", paired and paired.ratio)
        if "success" in name:
            row |= spread(f"{name} closed", setting.closed.get(name))
    return row | setting.counts


def spread(name: str, value: Estimate | None) -> dict[str, float]:
    """An estimate in three columns."""
    return dict(zip((name, f"{name} low", f"{name} high"), value or (np.nan,) * 3))
