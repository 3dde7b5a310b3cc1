"""Means with their intervals: over tasks, and over the same tasks with several seeds."""

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm
from torch import Tensor

RESAMPLES = 10_000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A value with its 95 % interval; `f"{estimate:.2f}"` is `0.48 [0.38, 0.58]`.

    Attributes:
        mean: over tasks and seeds.
        low: lower end; NaN where there is no interval.
        high: upper end.
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
        """The estimate in a dictionary of metrics: the value `name`, and a list `ends`."""
        return cls(*(float("nan") if value is None else value for value in (entry[name], *entry[ends])))

    def entry(self, name: str = "mean") -> dict[str, Any]:
        """The same for a dictionary of metrics."""
        return {name: self.mean, "ci95": [self.low, self.high]}


def number(value: float | None, form: str = ".2g") -> str:
    """A number, or a dash where there is none; without an exponent where it is large, but not very."""
    if value is None or np.isnan(value):
        return "–"
    written = format(value, form)
    return f"{float(written):,.0f}" if "e+" in written and abs(value) < 1e6 else written


@lru_cache(maxsize=4)
def draws(seeds: int, tasks: int) -> tuple[NDArray, NDArray]:
    """Shares `[RESAMPLES, S]` and `[RESAMPLES, N]` that seeds and tasks have in resamples; the same in every run."""
    random = np.random.default_rng(0)
    return tuple(random.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count for count in (seeds, tasks))


def resampled_means(values: NDArray) -> NDArray:
    """Means `[RESAMPLES]` of values `[S, N]` under the bootstrap, seeds and tasks drawn each for itself.

    All seeds share the tasks, so that the values of one task are no independent ones; drawing whole rows and whole
    columns keeps what they have in common (Owen 2007, *The pigeonhole bootstrap*, arXiv 0712.1111). Where they have
    nothing in common it errs on the safe side, by a factor of up to √3 in the width of an interval; few seeds make it
    too narrow by up to `(1 - 1/S)^(1/2)` as far as results differ between seeds.
    """
    of_seeds, of_tasks = draws(*values.shape)
    return ((of_seeds @ values) * of_tasks).sum(1)


def mean_interval(values: NDArray) -> Estimate:
    """The mean of values `[S, N]` of `S` seeds and `N` tasks, with its bootstrap interval.

    Also for the differences of two methods on the same tasks and seeds, which makes it a paired comparison. Of a single
    task, and where a value is infinite or NaN, there is no interval.
    """
    if values.shape[1] < 2 or not np.isfinite(values).all():
        return Estimate(float(values.mean()) if values.size else float("nan"), float("nan"), float("nan"))
    return percentiles(values.mean(), resampled_means(values))


def ratio_interval(values: NDArray, control: NDArray) -> Estimate:
    """The ratio of the means of values `[S, N]` and of a control, paired `[S, N]`, with its bootstrap interval.

    NaN where the control's mean is 0, in the whole or in a resample, or not finite.
    """
    ratio = values.mean() / control.mean() if control.mean() and np.isfinite(control.mean()) else np.nan
    if not np.isfinite(ratio):
        return Estimate(float("nan"), float("nan"), float("nan"))
    one, other = resampled_means(values), resampled_means(control)
    return percentiles(ratio, np.divide(one, other, out=np.full_like(one, np.nan), where=other != 0))


def percentiles(value: float, resampled: NDArray) -> Estimate:
    """A value with the interval that its resamples `[RESAMPLES]` fill."""
    return Estimate(float(value), *np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def rate_interval(outcomes: NDArray) -> Estimate:
    """The rate of successes among outcomes `[S, N]` of `S` seeds and `N` tasks, with Wilson's interval.

    Wilson's formula wants the number of independent trials, which of one seed are its tasks. Several seeds share their
    tasks, so that is less than `S · N`: it is chosen such that a binomial would vary as the bootstrap over seeds and
    tasks does. Where that cannot say, because all outcomes are equal, it is the number of tasks.
    """
    seeds, tasks = outcomes.shape
    rate = float(outcomes.mean())
    if seeds == 1:
        return Estimate(rate, *wilson(rate, tasks))
    variance = resampled_means(outcomes.astype(float)).var()
    trials = float(np.clip(rate * (1 - rate) / variance, 1, seeds * tasks)) if variance > 1e-12 else float(tasks)
    return Estimate(rate, *wilson(rate, trials))


def rate_difference(outcomes: NDArray, control: NDArray) -> Estimate:
    """How much higher the rate of successes is among outcomes `[S, N]` than among those of a control, paired `[S, N]`.

    The interval is put together from those of both rates and the correlation of their outcomes (Newcombe 1998,
    *Improved confidence intervals for the difference between binomial proportions based on paired data*, method 10
    without continuity correction): it has a width also where all outcomes are equal.
    """
    one, other = rate_interval(outcomes), rate_interval(control)
    constant = outcomes.std() == 0 or control.std() == 0
    correlation = 0.0 if constant else float(np.corrcoef(outcomes.ravel(), control.ravel())[0, 1])

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b)))

    difference = one.mean - other.mean
    low = difference - reach(one.mean - one.low, other.high - other.mean)
    return Estimate(difference, low, difference + reach(one.high - one.mean, other.mean - other.low))


def wilson(rate: float, trials: float) -> tuple[float, float]:
    """Wilson's interval for the rate of successes among a number of independent trials, which need not be whole."""
    z = norm.ppf((1 + LEVEL) / 2)
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, float(centre - reach)), min(1.0, float(centre + reach))


def estimate(values: Tensor) -> dict[str, Any]:
    """Mean over tasks of values `[N]` with its bootstrap interval, for metrics; NaN marks tasks that have none.

    Returns:
        `mean`, `ci95` (`[low, high]`) and `num_tasks`, the number of values that are no NaN. Mean and interval are NaN
        where there are no values; of a single one there is no interval.
    """
    known = values[~values.isnan()].double().cpu().numpy()
    return {**mean_interval(known[None]).entry(), "num_tasks": len(known)}


def statistic_interval(
    values: NDArray, statistic: Callable[[NDArray], float], value: float, num_resamples: int
) -> Estimate:
    """A statistic of `values [N]`, known to be `value`, with its bootstrap interval; the same in every run.

    NaN where there are fewer than two values, or where a resample has no such statistic.
    """
    if len(values) < 2:
        return Estimate(value, float("nan"), float("nan"))
    settings = dict(n_resamples=num_resamples, batch=200, vectorized=False, method="percentile", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap((values,), statistic, **settings)
    return Estimate(value, *map(float, found.confidence_interval))
