"""The results of a sweep as the tables of summary.csv and timings.csv."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gapclose.evaluation.statistics import Estimate
from gapclose.sweeps.results import MEASURES, Setting, is_rate


def summary(settings: Sequence[Setting]) -> pd.DataFrame:
    """The table of summary.csv, one row per setting: all results but durations, so that equal runs make equal rows."""
    return without_empty_columns([identifying_columns(setting) | result_columns(setting) for setting in settings])


def timings(settings: Sequence[Setting]) -> pd.DataFrame:
    """The table of timings.csv, one row per setting: the seconds that a run and its planning took."""
    return without_empty_columns([identifying_columns(setting) | setting.seconds for setting in settings])


def without_empty_columns(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Makes a table of rows and drops the columns that no row fills."""
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def identifying_columns(setting: Setting) -> dict[str, Any]:
    """The columns that say which setting a row is of."""
    return setting.values | {"seeds": " ".join(map(str, setting.seeds))}


def result_columns(setting: Setting) -> dict[str, Any]:
    """The columns of a setting's results; their order is the same in every sweep."""
    row: dict[str, Any] = {}
    for name in MEASURES:
        row |= interval_columns(name, setting.estimates.get(name))
    for name in MEASURES:
        for reference in ("control", "baseline"):
            paired = setting.comparisons.get(name) if setting.reference == reference else None
            row |= interval_columns(f"{name} minus {reference}", paired and paired.difference)
            row[f"{name} minus {reference} P(better)"] = paired and paired.better
            if is_rate(name):
                row[f"{name} minus {reference} gained"] = paired and paired.gained
                row[f"{name} minus {reference} lost"] = paired and paired.lost
                row[f"{name} minus {reference} p"] = paired and paired.p_value
            else:
                row |= interval_columns(f"{name} / {reference}", paired and paired.ratio)
        if is_rate(name):
            row |= interval_columns(f"{name} closed", setting.closed.get(name))
    return row | setting.means


def interval_columns(name: str, value: Estimate | None) -> dict[str, float]:
    """The three columns of an estimate: mean, low end, high end."""
    return dict(zip((name, f"{name} low", f"{name} high"), value or (np.nan,) * 3))
