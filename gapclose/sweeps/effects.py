"""What each varied key of a sweep does, all else being equal: main effects, and the means of two keys at once."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from gapclose.evaluation.statistics import Estimate
from gapclose.sweeps.results import Setting, averaged
from gapclose.sweeps.runs import Value, order

SEED = "seed"
"""The key of the seeds, whose effect is what chance alone does."""


class Trial(NamedTuple):
    """One seed of one setting.

    Attributes:
        values: of everything that is varied, and of the seed.
        outcomes: by measure, of each task.
    """

    values: dict[str, Value]
    outcomes: dict[str, pd.Series]


def learned(settings: Sequence[Setting]) -> list[Setting]:
    """The settings less those of the true dynamics, which know nothing of most keys; these, if there are no others."""
    return [setting for setting in settings if setting.method.get("finetune") != "oracle"] or list(settings)


def trials(settings: Sequence[Setting]) -> list[Trial]:
    """All seeds of all settings, each for itself."""
    return [
        Trial(one.values | {SEED: seed}, {name: table.loc[seed] for name, table in one.outcomes.items()})
        for one in settings
        for seed in one.seeds
    ]


def comparable(settings: Sequence[Setting], key: str) -> list[Trial]:
    """The trials in which nothing but the values of a key differs, or none: the largest set of such.

    Each of its values has met each of its surroundings: all other values and the seed. So a value that has been tried
    in the easier scenes alone, or of which the unlucky seed has failed, does not look better for it.
    """
    tried = [trial for trial in trials(settings) if trial.values[key] != ""]
    met: dict[tuple[Value, ...], set[Value]] = {}
    for trial in tried:
        met.setdefault(surroundings(trial, key), set()).add(trial.values[key])
    sets = {frozenset(values) for values in met.values()}
    shared = {one & other for one in sets for other in sets if len(one & other) > 1}

    def size(values: frozenset[Value]) -> tuple:
        return len(values) * sum(values <= found for found in met.values()), len(values), sorted(map(order, values))

    best = max(shared, key=size, default=None)
    if best is None:
        return []
    return [trial for trial in tried if trial.values[key] in best and best <= met[surroundings(trial, key)]]


def surroundings(trial: Trial, key: str) -> tuple[Value, ...]:
    """The values of everything but a key."""
    return tuple(value for name, value in trial.values.items() if name != key)


def main_effect(settings: Sequence[Setting], key: str, name: str) -> dict[Value, Estimate]:
    """A measure at each value of a key, over comparable trials: means over settings, then over seeds and tasks.

    Empty if there are none.
    """
    tables: dict[Value, list[pd.Series]] = {}
    for trial in comparable(settings, key):
        tables.setdefault(trial.values[key], []).append(trial.outcomes[name].rename(trial.values[SEED]))
    return {
        value: averaged(name, pd.concat(tables[value], axis="columns", join="inner").T.groupby(level=0).mean())
        for value in sorted(tables, key=order)
    }


def effects(settings: Sequence[Setting]) -> dict[str, dict[Value, Estimate]]:
    """The main effects on success of all keys and of the seed that have one; what makes most difference first."""
    keys = [*settings[0].values, SEED]
    found = {key: effect for key in keys if (effect := main_effect(settings, key, "success"))}
    return dict(sorted(found.items(), key=lambda item: -span(item[1])))


def span(effect: dict[Value, Estimate]) -> float:
    """How far apart the values of a key are."""
    means = [value.mean for value in effect.values()]
    return max(means) - min(means)


def levels(settings: Sequence[Setting], key: str) -> list[Value]:
    """The values of a key among those that have one, in order."""
    return sorted({setting.values[key] for setting in settings} - {""}, key=order)


def crossed(settings: Sequence[Setting], one: str, other: str) -> bool:
    """Whether two values of a key both meet the same two of the other: less says nothing of the two together."""
    met = {
        value: {setting.values[other] for setting in settings if setting.values[one] == value} - {""}
        for value in levels(settings, one)
    }
    return any(len(met[value] & met[another]) > 1 for value, another in combinations(met, 2))


def pair_means(settings: Sequence[Setting], down: str, across: str, name: str) -> pd.DataFrame:
    """A measure at each pair of values of two keys, means over all settings that have both; NaN where none has."""
    rows, columns = levels(settings, down), levels(settings, across)

    def mean(*values: Value) -> float:
        means = [one.estimates[name].mean for one in settings if (one.values[down], one.values[across]) == values]
        return fmean(means) if means else math.nan

    return pd.DataFrame([[mean(row, column) for column in columns] for row in rows], rows, columns)
