"""The results of a sweep as numbers: averaged over tasks and seeds, and compared with a reference on the same ones.

`Setting` holds the results of one setting. How runs are read is in `gapclose.sweeps.runs`; how results are
shown is in `gapclose.sweeps.table`, `gapclose.sweeps.plots` and `gapclose.sweeps.csv_tables`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gapclose.evaluation.metrics_file import ways_of
from gapclose.evaluation.paired import Paired, compare_errors, compare_rates
from gapclose.evaluation.statistics import Estimate, mean_interval, rate_interval, ratio_interval
from gapclose.progress import track
from gapclose.sweeps.runs import Missing, Run, Value, order, read_runs
from gapclose.sweeps.varied_settings import varied_keys, without_repeats

METHOD = ("finetune", "attack", "radii", "baseline", "adaptation", "objective")
"""The groups that define a method. All other varied keys define the condition in which methods are compared."""
CONTROL = "continue"
"""The `finetune` that others are compared with: as many gradient steps on the same data alone."""
ORACLE = "oracle"
"""The name of the true dynamics, used in place of a `finetune`."""
MEASURES = {
    "success": ("open_loop", "success"),
    "success, λ = 0": ("open_loop_without_disagreement", "success"),
    "MPC success": ("mpc", "success"),
    "adapted MPC success": ("mpc_adapted", "success"),
    "model error": ("open_loop", "world_model_error"),
    "distance": ("open_loop", "goal_distance"),
}
"""The measures that are averaged over tasks and seeds: the way to execute, and the column of tasks.csv."""


def is_rate(measure: str) -> bool:
    """Whether a measure is a share of the tasks, where higher is better; all others are errors and distances."""
    return "success" in measure


SPREAD = {
    "median error": "world_model_error_median",
    "90 % error": "world_model_error_q90",
    "outside": "left_world_rate",
}
"""What tells more of a run's errors than their mean: names in the sweep table, and those in metrics.json."""


class Setting(NamedTuple):
    """The results of one setting: runs with equal values of all varied keys, which differ only in the seed.

    Attributes:
        method: values of the varied keys that are in the groups of `METHOD`; `finetune=oracle` for the true dynamics.
        condition: values of the other varied keys.
        seeds: the seeds of its runs.
        outcomes: for each measure, a table with a row per seed and a column per task.
        estimates: for each measure, its mean with an interval.
        reference: what it is compared with: `control`, the setting of the same condition with `finetune=continue`, or
            `baseline`, its own model before finetuning, in a sweep without a control; empty if there is none.
        control: the method of the control.
        comparisons: for each measure, the comparison with the reference on the tasks and seeds that both have.
        closed: for each measure of success, the share of the way from the control to the true dynamics under the same
            planner; missing where the true dynamics are not clearly better than the control.
        means: the means of `expert_error`, `gap`, those of `SPREAD`, `simulator_steps` and `gradient_steps` over the
            seeds.
        seconds: mean durations over the seeds: `run`, and `planning, WAY` for each way to execute.
    """

    method: dict[str, Value]
    condition: dict[str, Value]
    seeds: list[int]
    outcomes: dict[str, pd.DataFrame]
    estimates: dict[str, Estimate]
    reference: str
    control: dict[str, Value]
    comparisons: dict[str, Paired]
    closed: dict[str, Estimate]
    means: dict[str, float]
    seconds: dict[str, float]

    @property
    def values(self) -> dict[str, Value]:
        """The values of all varied keys."""
        return self.condition | self.method


class SweepResults(NamedTuple):
    """The results of a sweep.

    Attributes:
        runs: the finished runs, without repeats.
        missing: the runs without results.
        keys: the config keys and groups that are varied.
        settings: the results of each setting; empty if no run has finished.
    """

    runs: list[Run]
    missing: list[Missing]
    keys: list[str]
    settings: list[Setting]


def read_results(folder: Path) -> SweepResults:
    """Reads the results of the sweep in a folder.

    Raises:
        UserError: the folder does not exist, or has no run in it.
    """
    runs, missing = read_runs(folder)
    keys = varied_keys(runs)
    runs, repeated = without_repeats(runs, keys)
    return SweepResults(runs, sorted([*missing, *repeated]), keys, collect_settings(runs, keys) if runs else [])


def collect_settings(runs: Sequence[Run], keys: Sequence[str]) -> list[Setting]:
    """Groups runs by setting, averages each group and compares it with its reference, in a fixed order.

    Args:
        runs: finished runs without repeats.
        keys: the config keys and groups that are varied.
    """
    groups: dict[tuple[Value, ...], list[tuple[Run, str]]] = {}
    keys = sorted(
        {*keys, *(["finetune"] if needs_finetune_key(runs, keys) else [])}, key=lambda key: (defines_method(key), key)
    )
    for run in sorted(runs, key=lambda run: run.seed):
        for model in run.evaluated_models:
            values = tuple(ORACLE if model == "oracle" and key == "finetune" else run.value(key) for key in keys)
            groups.setdefault(values, []).append((run, model))
    ordered = sorted(groups, key=lambda values: [order(value) for value in values])
    settings = [
        average_setting(dict(zip(keys, values)), groups[values]) for values in track(ordered, "Averaging", "setting")
    ]
    if has_control(settings):
        return [compare_with_control(setting, settings) for setting in settings]
    return [compare_with_baseline(setting, groups[values]) for setting, values in zip(settings, ordered)]


def defines_method(key: str) -> bool:
    """Whether a key is part of the method, not of the condition."""
    return key.partition(".")[0] in METHOD


def needs_finetune_key(runs: Sequence[Run], keys: Sequence[str]) -> bool:
    """Whether rows must show `finetune` although it is not varied: to mark the true dynamics, or as the only key."""
    return not keys or any("oracle" in run.evaluated_models for run in runs)


def average_setting(values: dict[str, Value], group: Sequence[tuple[Run, str]]) -> Setting:
    """Averages the runs of one setting; it is not yet compared with a reference."""
    outcomes = outcomes_by_seed(group)
    method = {name: value for name, value in values.items() if defines_method(name)}
    return Setting(
        method=method,
        condition={name: value for name, value in values.items() if name not in method},
        seeds=[run.seed for run, _ in group],
        outcomes=outcomes,
        estimates={name: average(name, table) for name, table in outcomes.items()},
        reference="",
        control={},
        comparisons={},
        closed={},
        means=mean_of([run_metrics(run.metrics, model) for run, model in group]),
        seconds=mean_of([durations(run.metrics, model) for run, model in group]),
    )


def outcomes_of(run: Run, model: str, measure: str) -> pd.Series:
    """A measure of a run's model for each task; empty if the model was not executed in that way."""
    way, column = MEASURES[measure]
    table = run.outcomes.get((model, way))
    return pd.Series(dtype=float) if table is None else table[column]


def outcomes_by_seed(group: Sequence[tuple[Run, str]]) -> dict[str, pd.DataFrame]:
    """For each measure that all runs have, a table with a row per seed and a column per task."""
    tables = {}
    for name in MEASURES:
        rows = {run.seed: outcomes_of(run, model, name) for run, model in group}
        if all(len(row) for row in rows.values()):
            tables[name] = pd.DataFrame(rows).T
    return tables


def average(name: str, table: pd.DataFrame) -> Estimate:
    """The mean of a measure with its interval."""
    return (rate_interval if is_rate(name) else mean_interval)(table.to_numpy(float))


def run_metrics(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """The metrics that a run has once, not per task; a run that does not count its steps has taken none."""
    return {
        "expert_error": metrics[model]["expert_error"],
        "gap": metrics[model]["open_loop"]["train_test_gap"],
        **{name: metrics[model]["open_loop"].get(key) for name, key in SPREAD.items()},
        **{name: metrics.get(name, 0) for name in ("simulator_steps", "gradient_steps")},
    }


def durations(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """The seconds that a run took, and those of its planning by way to execute."""
    planning = {f"planning, {way}": result.get("planning_seconds") for way, result in ways_of(metrics[model]).items()}
    return {"run": metrics.get("wall_clock_seconds"), **planning}


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Averages rows; NaN where one of them has no value, such as the gap of a model that diverged.

    The mean of the other rows alone would look better than the setting is.
    """
    return pd.DataFrame(rows).astype(float).mean(skipna=False).to_dict()


def has_control(settings: Sequence[Setting]) -> bool:
    """Whether this is a sweep of methods: one of its methods is the control of the others."""
    methods = {setting.method.get("finetune") for setting in settings}
    return CONTROL in methods and len(methods) > 1


def compare_with_control(setting: Setting, settings: Sequence[Setting]) -> Setting:
    """Compares a setting with the control of its condition; of several controls, with the most similar one."""
    controls, oracles = (
        [other for other in settings if other.method["finetune"] == name and other.condition == setting.condition]
        for name in (CONTROL, ORACLE)
    )
    if any(control is setting for control in controls):
        # A control has no reference. With two controls (for example attack=a and attack=b), the row label shows in what
        # they differ.
        others = [control for control in controls if control is not setting] or [setting]
        return setting._replace(control=others[0].method)
    if not controls:
        return setting
    control = most_similar(setting, controls)
    comparisons = compare_outcomes(setting.outcomes, control.outcomes)
    closed = {}
    if oracles and setting.method["finetune"] != ORACLE:
        closed = shares_closed(setting.outcomes, control.outcomes, most_similar(setting, oracles).outcomes)
    return setting._replace(
        reference="control" if comparisons else "", control=control.method, comparisons=comparisons, closed=closed
    )


def most_similar(setting: Setting, others: Sequence[Setting]) -> Setting:
    """The setting whose method shares most values with that of the given one."""
    return max(others, key=lambda other: sum(other.method[name] == value for name, value in setting.method.items()))


def compare_with_baseline(setting: Setting, group: Sequence[tuple[Run, str]]) -> Setting:
    """Compares a setting with the models of its own runs before finetuning, if all runs have evaluated them."""
    if not all(model == "finetuned" and "baseline" in run.metrics for run, model in group):
        return setting
    before = outcomes_by_seed([(run, "baseline") for run, _ in group])
    return setting._replace(reference="baseline", comparisons=compare_outcomes(setting.outcomes, before))


def compare_outcomes(tables: dict[str, pd.DataFrame], reference_tables: dict[str, pd.DataFrame]) -> dict[str, Paired]:
    """Compares outcomes with those of a reference, for each measure that both have on common seeds and tasks."""
    comparisons = {}
    for name in [name for name in tables if name in reference_tables]:
        table, reference = tables[name].align(reference_tables[name], join="inner")
        if table.size:
            compare = compare_rates if is_rate(name) else compare_errors
            comparisons[name] = compare(table.to_numpy(float), reference.to_numpy(float))
    return comparisons


def shares_closed(
    tables: dict[str, pd.DataFrame], control_tables: dict[str, pd.DataFrame], oracle_tables: dict[str, pd.DataFrame]
) -> dict[str, Estimate]:
    """Which share of the way from the control's success to the oracle's is closed, on common seeds and tasks.

    The oracle is not trained, so one seed of it serves all; several seeds are averaged. A measure is left out where the
    oracle is not better than the control by more than the interval of the difference.
    """
    shares = {}
    for name in [name for name in tables if is_rate(name) and name in control_tables and name in oracle_tables]:
        table, control = tables[name].align(control_tables[name], join="inner")
        oracle = oracle_tables[name].astype(float).mean()
        tasks = table.columns.intersection(oracle.index)
        before = control[tasks].to_numpy(float)
        whole, closed = oracle[tasks].to_numpy() - before, table[tasks].to_numpy(float) - before
        if whole.size and mean_interval(whole).low > 0:
            shares[name] = ratio_interval(closed, whole)
    return shares
