"""Means and rates with their 95 % intervals: over tasks, and over the same tasks with several seeds.

Comparisons of two models are in `gapclose.evaluation.paired`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm

if TYPE_CHECKING:  # Reading results needs no PyTorch, whose import takes seconds.
    from torch import Tensor

RESAMPLES = 10_000
MOST_DRAWN = 50_000_000
"""How many weights are drawn at most: with more than 5000 tasks there are fewer resamples, and less need of them."""
IN_MEMORY = 2**24
"""How many weights are in memory at a time as floating-point numbers, which take 128 MB."""
LEVEL = 0.95


class Estimate(NamedTuple):
    """A value with its 95 % interval; `f"{estimate:.2f}"` is `0.48 [0.38, 0.58]`.

    Attributes:
        mean: over tasks and seeds.
        low: lower end of the interval; NaN where there is none.
        high: upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __format__(self, form: str) -> str:
        if np.isnan(self.mean):
            return "–"
        return f"{number(self.mean, form)} [{number(self.low, form)}, {number(self.high, form)}]"

    @classmethod
    def of(cls, entry: Mapping[str, Any], name: str = "mean", ends: str = "ci95") -> Self:
        """Reads an estimate from a dictionary of metrics: the value `name`, and the list `ends`."""
        return cls(*(float("nan") if value is None else value for value in (entry[name], *entry[ends])))

    def entry(self, name: str = "mean") -> dict[str, Any]:
        """Converts the estimate for a dictionary of metrics."""
        return {name: self.mean, "ci95": [self.low, self.high]}


def number(value: float | None, form: str = ".2g") -> str:
    """Formats a number, or a dash where there is none; below one million it has no exponent."""
    if value is None or np.isnan(value):
        return "–"
    written = format(value, form)
    return f"{float(written):,.0f}" if "e+" in written and abs(value) < 1e6 else written


@lru_cache(maxsize=4)
def draws(seeds: int, tasks: int) -> tuple[NDArray, NDArray]:
    """Draws how often seeds and tasks are in each of `R` resamples, `[R, S]` and `[R, N]`, equal in every run.

    `R` is `RESAMPLES`, or less for very many tasks. No count that can occur is above 255.
    """
    random = np.random.default_rng(0)
    resamples = max(1, min(RESAMPLES, MOST_DRAWN // tasks))
    drawn = []
    for count in (seeds, tasks):
        counts, equal = np.empty((resamples, count), np.uint8), np.full(count, 1 / count)
        for rows in parts(*counts.shape):
            counts[rows] = random.multinomial(count, equal, rows.stop - rows.start)
        drawn.append(counts)
    return tuple(drawn)


def parts(rows: int, width: int) -> list[slice]:
    """Splits rows of a width into as few parts as fit into memory."""
    step = max(1, IN_MEMORY // width)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def resampled_means(values: NDArray) -> NDArray:
    """Means `[R]` of values `[S, N]` under the bootstrap; seeds and tasks are resampled independently.

    All seeds share the tasks, so the values of one task are not independent. Drawing whole rows and whole columns keeps
    their correlation (Owen 2007, *The pigeonhole bootstrap*, arXiv 0712.1111). Where there is none, intervals are too
    wide, by a factor of up to √3. With few seeds they are too narrow, by a factor of up to `(1 - 1/S)^(1/2)` as far as
    results differ between seeds.
    """
    seeds, tasks = values.shape
    of_seeds, of_tasks = draws(seeds, tasks)
    means = []
    for rows in parts(len(of_tasks), tasks):
        seed_weights, task_weights = of_seeds[rows].astype(float) / seeds, of_tasks[rows].astype(float) / tasks
        means.append(((seed_weights @ values) * task_weights).sum(1))
    return np.concatenate(means)


def mean_interval(values: NDArray) -> Estimate:
    """The mean of values `[S, N]` of `S` seeds and `N` tasks, with its bootstrap interval.

    For the differences of two methods on the same tasks and seeds this is a paired comparison. There is no interval for
    a single task, or if a value is infinite or NaN.
    """
    if values.shape[1] < 2 or not np.isfinite(values).all():
        return Estimate(float(values.mean()) if values.size else float("nan"), float("nan"), float("nan"))
    return percentiles(values.mean(), resampled_means(values))


def ratio_interval(values: NDArray, control: NDArray) -> Estimate:
    """The ratio of the means of values `[S, N]` and of a control, paired `[S, N]`, with its bootstrap interval.

    NaN where the control's mean is not finite, or is 0, also in a resample.
    """
    ratio = values.mean() / control.mean() if control.mean() and np.isfinite(control.mean()) else np.nan
    if not np.isfinite(ratio):
        return Estimate(float("nan"), float("nan"), float("nan"))
    means, control_means = resampled_means(values), resampled_means(control)
    return percentiles(
        ratio, np.divide(means, control_means, out=np.full_like(means, np.nan), where=control_means != 0)
    )


def percentiles(value: float, resampled: NDArray) -> Estimate:
    """A value with the interval between the percentiles of its resamples `[R]`."""
    return Estimate(float(value), *np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def rate_interval(outcomes: NDArray) -> Estimate:
    """The success rate of outcomes `[S, N]` of `S` seeds and `N` tasks, with Wilson's interval.

    Wilson's formula needs the number of independent trials. For one seed this is the number of tasks. Several seeds
    share their tasks, so it is less than `S · N`: it is chosen so that a binomial rate has the variance of the
    bootstrap over seeds and tasks. If that variance is 0, because all outcomes are equal, it is the number of tasks.
    """
    seeds, tasks = outcomes.shape
    rate = float(outcomes.mean())
    if seeds == 1:
        return Estimate(rate, *wilson(rate, tasks))
    variance = resampled_means(outcomes.astype(float)).var()
    trials = float(np.clip(rate * (1 - rate) / variance, 1, seeds * tasks)) if variance > 1e-12 else float(tasks)
    return Estimate(rate, *wilson(rate, trials))


def rate_difference(outcomes: NDArray, control: NDArray) -> Estimate:
    """The difference of the success rates of outcomes `[S, N]` and of a control, paired `[S, N]`.

    The interval is computed from those of both rates and the correlation of the outcomes (Newcombe 1998,
    *Improved confidence intervals for the difference between binomial proportions based on paired data*, method 10
    without continuity correction). Its width is positive even if all outcomes are equal.
    """
    rate, control_rate = rate_interval(outcomes), rate_interval(control)
    constant = outcomes.std() == 0 or control.std() == 0
    correlation = 0.0 if constant else float(np.corrcoef(outcomes.ravel(), control.ravel())[0, 1])

    def half_width(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b)))

    difference = rate.mean - control_rate.mean
    low = difference - half_width(rate.mean - rate.low, control_rate.high - control_rate.mean)
    high = difference + half_width(rate.high - rate.mean, control_rate.mean - control_rate.low)
    return Estimate(difference, low, high)


def wilson(rate: float, trials: float) -> tuple[float, float]:
    """Wilson's interval of a success rate over a number of independent trials, which may be fractional."""
    z = norm.ppf((1 + LEVEL) / 2)
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half_width = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, float(centre - half_width)), min(1.0, float(centre + half_width))


def estimate(values: Tensor) -> dict[str, Any]:
    """The mean over tasks of values `[N]` with its bootstrap interval, for metrics; NaN marks tasks without a value.

    Returns:
        `mean`, `ci95` (`[low, high]`) and `num_tasks`, the number of values that are not NaN. Mean and interval are NaN
        if there are no values; a single value has no interval.
    """
    known = values[~values.isnan()].double().cpu().numpy()
    return {**mean_interval(known[None]).entry(), "num_tasks": len(known)}


def statistic_interval(
    values: NDArray, statistic: Callable[[NDArray], float], value: float, num_resamples: int
) -> Estimate:
    """Adds the bootstrap interval to a statistic of `values [N]` that equals `value`; the same in every run.

    The interval is NaN for fewer than two values, or if the statistic of a resample is NaN.
    """
    if len(values) < 2:
        return Estimate(value, float("nan"), float("nan"))
    settings = dict(n_resamples=num_resamples, batch=200, vectorized=False, method="percentile", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap((values,), statistic, **settings)
    return Estimate(value, *map(float, result.confidence_interval))
