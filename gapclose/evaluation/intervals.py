"""Estimates over tasks, with their intervals."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap
from torch import Tensor


def estimate(values: Tensor) -> dict[str, Any]:
    """Mean over tasks of values `[N]` with its 95 % bootstrap interval (percentiles); NaN marks tasks that have none.

    Returns:
        `mean`, `ci95` (`[low, high]`) and `num_tasks`, the number of values that are no NaN. Mean and interval are NaN
        where there are no values; of a single one there is no interval.
    """
    known = values[~values.isnan()].double().cpu().numpy()
    mean = known.mean().item() if len(known) else float("nan")
    return {"mean": mean, "ci95": interval(known, np.mean, vectorized=True), "num_tasks": len(known)}


def interval(
    values: np.ndarray, statistic: Callable[..., Any], vectorized: bool, num_resamples: int = 2000
) -> list[float]:
    """The 95 % bootstrap interval of a statistic of values `[N]`; the resamples are the same in every run.

    NaN where there are fewer than two values, or where a resample has no such statistic.
    """
    if len(values) < 2:
        return [float("nan")] * 2
    settings = dict(n_resamples=num_resamples, batch=200, vectorized=vectorized, method="percentile", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap((values,), statistic, **settings)
    return [float(end) for end in found.confidence_interval]
