"""The sweep table and the sentences below it: what the terminal, the Markdown page and the HTML report show in words.

To add a column, add a `Column` to `all_columns`: it has a title, a function that makes the cell of a setting, and an
explanation for the caption. A column whose cells are all empty is left out. summary.csv is written by
`gapclose.sweeps.csv_tables`, from `MEASURES` and `run_metrics` of `gapclose.sweeps.results`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gapclose.evaluation.paired import corrected, in_words, probability
from gapclose.evaluation.statistics import Estimate
from gapclose.sweeps.results import MEASURES, ORACLE, SPREAD, Setting, has_control, is_rate
from gapclose.sweeps.runs import Value

EMPTY = "–"
"""The cell of a value that does not exist."""
CAPTION = (
    "means over tasks and seeds with 95 % intervals; λ = 0: the planner ignores disagreement; model error: MSE of the "
    "imagined states under open-loop planning; gap: its ratio to the error on held-out data"
)
REFERENCES = {
    "control": (
        "control: finetune=continue, as many gradient steps on the same data alone, on the same tasks and seeds"
    ),
    "baseline": "baseline: the same runs before finetuning, on the same tasks",
}
BETTER = "P(better), P(lower): probability of more success, of less model error, under the paired bootstrap"
CLOSED = "closed: gap closed, (success − control) / (success with true dynamics − control)"
OUTSIDE = "outside: share of plans in which the model imagines states outside the world"
PLANNING = "planning: seconds for all tasks, open loop and under MPC"


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        title: its heading.
        cell: makes the text of a setting's cell; `EMPTY` or nothing where the setting has no such value.
        explanation: for the caption; columns with the same explanation share it.
    """

    title: str
    cell: Callable[[Setting], str]
    explanation: str = ""


def all_columns(settings: Sequence[Setting]) -> list[Column]:
    """Every column that the table can have, from left to right. Add a new one here.

    The first columns say which setting a row is of: its condition and method in a sweep of methods, otherwise the value
    of each varied key.
    """
    reference = reference_of(settings)
    if has_control(settings):
        first = [Column("condition", condition_name), Column("method", label)]
    else:
        keys = list(settings[0].values)
        first = [Column(title, partial(key_cell, key)) for title, key in zip(short_names(keys), keys)]
    return [
        *first,
        Column("seeds", lambda setting: str(len(setting.seeds))),
        *(Column(measure, partial(estimate_cell, measure)) for measure in MEASURES),
        *(Column(name, partial(spread_cell, name), OUTSIDE if name == "outside" else "") for name in SPREAD),
        Column(f"success − {reference}", partial(difference_cell, "success"), REFERENCES.get(reference, "")),
        Column("P(better)", partial(better_cell, "success"), BETTER),
        Column("closed", partial(closed_cell, "success"), CLOSED),
        Column(f"MPC success − {reference}", partial(difference_cell, "MPC success")),
        Column("MPC closed", partial(closed_cell, "MPC success"), CLOSED),
        Column(f"error / {reference}", partial(ratio_cell, "model error")),
        Column("P(lower)", partial(better_cell, "model error"), BETTER),
        Column("gap", lambda setting: count(setting.means["gap"])),
        Column("simulator steps", lambda setting: count(setting.means["simulator_steps"])),
        Column("gradient steps", lambda setting: count(setting.means["gradient_steps"])),
        Column("planning, s", partial(planning_cell, "open_loop"), PLANNING),
        Column("MPC planning, s", partial(planning_cell, "mpc"), PLANNING),
        Column("seconds", lambda setting: count(setting.seconds["run"]), "seconds: of a run"),
    ]


def filled_columns(settings: Sequence[Setting]) -> list[Column]:
    """The columns in which at least one setting has a value."""
    return [
        column
        for column in all_columns(settings)
        if any(column.cell(setting) not in (EMPTY, "") for setting in settings)
    ]


def table_of(settings: Sequence[Setting]) -> tuple[list[str], list[list[str]]]:
    """Returns the titles of the columns and the rows of cells, one row per setting, the best first.

    In a sweep of methods the rows are grouped by condition.
    """
    columns = filled_columns(settings)
    groups = by_condition(settings).values() if has_control(settings) else [best_first(settings)]
    rows = [[column.cell(setting) for column in columns] for members in groups for setting in members]
    return [column.title for column in columns], rows


def caption(settings: Sequence[Setting]) -> str:
    """Explains the columns of the table."""
    explanations = [column.explanation for column in filled_columns(settings) if column.explanation]
    return "; ".join(dict.fromkeys([CAPTION, *explanations]))


def reference_of(settings: Sequence[Setting]) -> str:
    """The reference that a sweep's settings are compared with, `control` or `baseline`; empty if there is none."""
    return next((setting.reference for setting in settings if setting.reference), "")


def key_cell(key: str, setting: Setting) -> str:
    """The value of a varied key."""
    return text(setting.values[key])


def estimate_cell(measure: str, setting: Setting) -> str:
    """The mean of a measure with its interval."""
    return interval(setting.estimates.get(measure), ".2f" if measure == "distance" or is_rate(measure) else ".2g")


def spread_cell(name: str, setting: Setting) -> str:
    """The mean over the seeds of a number that tells of the spread of errors."""
    value = setting.means.get(name, math.nan)
    return EMPTY if math.isnan(value) else format(value, ".2f" if name == "outside" else ".2g")


def difference_cell(measure: str, setting: Setting) -> str:
    """How much higher a measure is than the reference's."""
    paired = setting.comparisons.get(measure)
    return interval(paired and paired.difference, "+.2f")


def ratio_cell(measure: str, setting: Setting) -> str:
    """The ratio of a measure to the reference's."""
    paired = setting.comparisons.get(measure)
    return interval(paired and paired.ratio, ".2g")


def better_cell(measure: str, setting: Setting) -> str:
    """The probability that a measure is better than the reference's."""
    paired = setting.comparisons.get(measure)
    return probability(paired.better) if paired else EMPTY


def closed_cell(measure: str, setting: Setting) -> str:
    """The share of the way from the control to the true dynamics."""
    return interval(setting.closed.get(measure), ".2f")


def planning_cell(way: str, setting: Setting) -> str:
    """The seconds that planning took; only where planners are compared."""
    seconds = setting.seconds.get(f"planning, {way}", math.nan) if "planner" in setting.values else math.nan
    return EMPTY if math.isnan(seconds) else f"{seconds:.1f}"


def best_first(settings: Sequence[Setting]) -> list[Setting]:
    """Sorts settings by success, the highest first, and those of equal success by model error, the lowest first."""

    def rank(setting: Setting) -> tuple[float, float]:
        error = setting.estimates["model error"].mean
        return -setting.estimates["success"].mean, math.inf if math.isnan(error) else error

    return sorted(settings, key=rank)


def by_condition(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """Groups settings by the name of their condition; the best of each group comes first."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(condition_name(setting), []).append(setting)
    return {condition: best_first(members) for condition, members in groups.items()}


def condition_name(setting: Setting) -> str:
    """The condition of a setting in words; `all` where no condition is varied."""
    return ", ".join(describe(setting.condition)) or "all"


def label(setting: Setting) -> str:
    """The name of a setting's method: its `finetune`, and what else differs from the control.

    Adaptation is left out where a column of its own shows adapted MPC, and for the true dynamics, which do not adapt.
    """
    hidden = {"finetune"}
    if "adapted MPC success" in setting.estimates or setting.method.get("finetune") == ORACLE:
        hidden.add("adaptation")
    differing = {
        name: value
        for name, value in setting.method.items()
        if name not in hidden and value != "" and setting.control.get(name, "") != value
    }
    return ", ".join([*filter(None, [setting.method.get("finetune")]), *describe(differing)]) or "default"


def full_name(setting: Setting) -> str:
    """The name of a setting: its method and its condition."""
    return ", ".join([label(setting), *describe(setting.condition)])


def describe(values: dict[str, Value]) -> list[str]:
    """Describes the values of keys: a group's option by its own name, a number together with its key."""
    return [
        " ".join([*name.split(".")[1:][-2:], text(value)]) if "." in name else describe_value(name, value)
        for name, value in values.items()
        if value != ""
    ]


def describe_value(name: str, value: Value) -> str:
    """The option of a group alone, or any other value after its name."""
    return value if isinstance(value, str) and value not in ("true", "false", "null", "none") else f"{name} {value}"


def short_names(keys: Sequence[str]) -> list[str]:
    """Shortens keys to as few of their last parts as keep them distinct."""
    names = []
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        names.append(next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key))
    return names


def text(value: Value) -> str:
    """The text of a value in a cell; a dash for what a run does not have."""
    return EMPTY if value == "" else str(value)


def interval(value: Estimate | None, form: str) -> str:
    """An estimate with its interval, or a dash where there is none."""
    return EMPTY if value is None else format(value, form)


def count(value: float) -> str:
    """A whole number with thousands separators; with an exponent if it is huge, like the gap of a diverged model."""
    return EMPTY if math.isnan(value) else f"{value:,.0f}" if value < 1e9 else f"{value:.2g}"


def sentences(settings: Sequence[Setting]) -> list[str]:
    """Compares the best method of each condition with the control, or the best setting with its own baseline.

    The best of many can beat the control by chance alone, so its p-value is corrected for the number of candidates.
    """
    groups = by_condition(settings) if has_control(settings) else {"": best_first(settings)}
    lines = []
    for condition, members in groups.items():
        candidates = [
            setting
            for setting in members
            if "success" in setting.comparisons and setting.method.get("finetune") != ORACLE
        ]
        if not candidates:
            continue
        best = candidates[0]
        p_value, *_ = corrected([candidate.comparisons["success"].p_value for candidate in candidates])
        success = best.comparisons["success"]._replace(p_value=p_value)
        if best.reference == "control":
            names, where = (label(best), "continue"), condition
        else:
            names, where = ("finetuned", "its baseline"), ", ".join(describe(best.values))
        sentence = in_words(*names, success, best.comparisons.get("model error"), len(candidates))
        lines.append(f"{where}: {sentence}" if where not in ("", "all") else sentence)
    return lines
