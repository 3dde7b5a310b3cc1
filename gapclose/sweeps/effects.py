"""Effects of the varied keys of a sweep: main effects with all other keys equal, and means over pairs of values."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from gapclose.evaluation.statistics import Estimate
from gapclose.sweeps.results import Setting, average
from gapclose.sweeps.runs import Value, order

SEED = "seed"
"""The key of the seeds, whose effect shows how much chance alone changes."""


class Trial(NamedTuple):
    """The results of one seed of one setting.

    Attributes:
        values: the values of all varied keys and the seed.
        outcomes: for each measure, the outcomes of the tasks.
    """

    values: dict[str, Value]
    outcomes: dict[str, pd.Series]


def without_oracle(settings: Sequence[Setting]) -> list[Setting]:
    """Leaves out the settings of the true dynamics, which most keys do not affect, unless there are no others."""
    return [setting for setting in settings if setting.method.get("finetune") != "oracle"] or list(settings)


def trials(settings: Sequence[Setting]) -> list[Trial]:
    """Splits settings into trials, one for each seed."""
    return [
        Trial(setting.values | {SEED: seed}, {name: table.loc[seed] for name, table in setting.outcomes.items()})
        for setting in settings
        for seed in setting.seeds
    ]


def matched_trials(settings: Sequence[Setting], key: str) -> list[Trial]:
    """The largest set of trials that differ only in the values of a key, each value under the same conditions.

    Each value of the key has a trial with each combination of all other values and the seed. So a value does not look
    better because it was tried only in easier conditions, or because an unlucky seed has failed. Empty if
    no two values were tried under the same conditions.
    """
    with_key = [trial for trial in trials(settings) if trial.values[key] != ""]
    seen: dict[tuple[Value, ...], set[Value]] = {}
    for trial in with_key:
        seen.setdefault(other_values(trial, key), set()).add(trial.values[key])
    sets = {frozenset(values) for values in seen.values()}
    candidates = {first & second for first in sets for second in sets if len(first & second) > 1}

    def size(values: frozenset[Value]) -> tuple:
        complete = sum(values <= others for others in seen.values())
        return len(values) * complete, len(values), sorted(map(order, values))

    best = max(candidates, key=size, default=None)
    if best is None:
        return []
    return [trial for trial in with_key if trial.values[key] in best and best <= seen[other_values(trial, key)]]


def other_values(trial: Trial, key: str) -> tuple[Value, ...]:
    """The values of all keys but one."""
    return tuple(value for name, value in trial.values.items() if name != key)


def main_effect(settings: Sequence[Setting], key: str, name: str) -> dict[Value, Estimate]:
    """The mean of a measure at each value of a key, over matched trials: over settings, then over seeds and tasks.

    Empty if no trials match.
    """
    tables: dict[Value, list[pd.Series]] = {}
    for trial in matched_trials(settings, key):
        tables.setdefault(trial.values[key], []).append(trial.outcomes[name].rename(trial.values[SEED]))
    return {
        value: average(name, pd.concat(tables[value], axis="columns", join="inner").T.groupby(level=0).mean())
        for value in sorted(tables, key=order)
    }


def effects(settings: Sequence[Setting]) -> dict[str, dict[Value, Estimate]]:
    """The main effects of all keys and of the seed on success, the largest first; keys without one are left out."""
    keys = [*settings[0].values, SEED]
    by_key = {key: effect for key in keys if (effect := main_effect(settings, key, "success"))}
    return dict(sorted(by_key.items(), key=lambda item: -span(item[1])))


def span(effect: dict[Value, Estimate]) -> float:
    """The difference between the highest and the lowest mean."""
    means = [value.mean for value in effect.values()]
    return max(means) - min(means)


def levels(settings: Sequence[Setting], key: str) -> list[Value]:
    """The values that a key takes, in order."""
    return sorted({setting.values[key] for setting in settings} - {""}, key=order)


def crossed(settings: Sequence[Setting], first: str, second: str) -> bool:
    """Whether two values of the first key were both tried with the same two values of the second."""
    partners = {
        value: {setting.values[second] for setting in settings if setting.values[first] == value} - {""}
        for value in levels(settings, first)
    }
    return any(len(partners[a] & partners[b]) > 1 for a, b in combinations(partners, 2))


def pair_means(settings: Sequence[Setting], down: str, across: str, name: str) -> pd.DataFrame:
    """The mean of a measure at each pair of values of two keys, over the settings that have both; NaN if none has."""
    rows, columns = levels(settings, down), levels(settings, across)

    def mean(*values: Value) -> float:
        pairs = ((setting, (setting.values[down], setting.values[across])) for setting in settings)
        means = [setting.estimates[name].mean for setting, pair in pairs if pair == values]
        return fmean(means) if means else math.nan

    return pd.DataFrame([[mean(row, column) for column in columns] for row in rows], rows, columns)
