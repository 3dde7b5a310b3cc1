"""Paired comparisons of two models on the same tasks: differences, tasks gained and lost, p-values and probabilities.

False positives: how often equal methods were found different at the level 0.05, in 500 simulations each (100 tasks; a
task succeeds if the sum of normal scores is high enough, with standard deviations 1.5 for the task, 1 for the method on
the task, 1 for noise, and 0, 0.3 or 0.6 for the seed):

    seeds, their std. dev.        1, 0     3, 0     3, 0.3   3, 0.6   8, 0.3
    p-value (McNemar, `gains`)    0.03     0.03     0.05     0.09     0.06
    all pairs pooled in McNemar   0.03     0.09     0.27     0.50     0.36
    interval of the difference    0.06     0.02     0.06     0.15     0.04
    `better`, success             0.06     0.02     0.06     0.16     0.05
    `better`, lognormal errors    0.06     0.03     0.06     0.12     0.03

Three seeds are too few for the bootstrap to estimate how much seeds differ. Where they do differ, use more seeds; the
p-value is the most reliable of the three.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

from gapclose.evaluation.statistics import (
    LEVEL,
    Estimate,
    mean_interval,
    rate_difference,
    ratio_interval,
    resampled_means,
)

COLUMNS = ("success", "world_model_error")
"""The columns of tasks.csv in which the models of a run are compared."""


class Paired(NamedTuple):
    """The comparison of results with those of a reference on the same tasks and seeds.

    Attributes:
        seeds: number of seeds.
        tasks: number of tasks.
        difference: from the reference, with its interval over tasks and seeds.
        better: the paired bootstrap's probability of an improvement: that success is higher, or error and
            distance lower, on other tasks and with other seeds of the same kind.
        ratio: to the reference; none for successes.
        gained: number of tasks that succeed in more seeds than with the reference; none for other measures.
        lost: number of tasks that succeed in fewer seeds.
        p_value: of the hypothesis of equal success, from `gains`; for one seed that of McNemar's test.
    """

    seeds: int
    tasks: int
    difference: Estimate
    better: float
    ratio: Estimate | None = None
    gained: int | None = None
    lost: int | None = None
    p_value: float | None = None

    def entry(self) -> dict[str, Any]:
        """Converts the comparison for metrics.json."""
        values = {**self.difference.entry("difference"), "probability_better": self.better}
        if self.ratio is not None:
            values |= {"ratio": self.ratio.mean, "ratio_ci95": [self.ratio.low, self.ratio.high]}
        if self.p_value is not None:
            values |= {"gained": self.gained, "lost": self.lost, "p_value": self.p_value}
        return values


def compare_rates(outcomes: NDArray, reference: NDArray) -> Paired:
    """Compares successes `[S, N]` of `S` seeds and `N` tasks with those of a reference, paired `[S, N]`."""
    better = probability_positive(outcomes.astype(float) - reference)
    difference = rate_difference(outcomes, reference)
    return Paired(*outcomes.shape, difference, better, None, *gains(outcomes, reference))


def compare_errors(values: NDArray, reference: NDArray) -> Paired:
    """Compares errors or distances `[S, N]`, the lower the better, with those of a reference, paired `[S, N]`."""
    change, ratio = values - reference, ratio_interval(values, reference)
    return Paired(*values.shape, mean_interval(change), probability_positive(-change), ratio)


def probability_positive(differences: NDArray) -> float:
    """The share of resamples of differences `[S, N]` with a positive mean; those with a mean of zero count half."""
    if not np.isfinite(differences).all():
        return float("nan")
    resampled = resampled_means(differences)
    # Sums that should cancel to zero can leave a rounding error.
    zero = np.abs(resampled) <= 1e-12 * np.abs(differences).max()
    return float(np.where(zero, 0.5, resampled > 0).mean())


def gains(outcomes: NDArray, reference: NDArray) -> tuple[int, int, float]:
    """Counts tasks gained and lost among outcomes `[S, N]`, and computes the p-value of no difference.

    With one seed this is the p-value of McNemar's exact test, which assumes independent pairs. The `S · N` pairs of
    several seeds are not independent: they share tasks and models. Then each task counts once, as gained if it succeeds
    in more seeds than with the reference. The p-value is the larger of two: that of the exact sign test over tasks,
    which is about the models as trained, and that of `crossed_test`, which also generalises to other seeds.
    """
    difference = outcomes.sum(0, dtype=float) - reference.sum(0, dtype=float)
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    if len(outcomes) > 1:
        p_value = max(p_value, crossed_test(outcomes.astype(float) - reference))
    return gained, lost, p_value


def crossed_test(differences: NDArray) -> float:
    """The p-value of a mean of zero for differences `[S, N]`, where both seeds and tasks are random samples.

    The t-test of two crossed random factors, as for readers and cases (Hillis 2007, *A comparison of denominator
    degrees of freedom methods for multiple observer ROC analysis*). It is 0 if nothing varies but the mean is not 0.
    """
    seeds, tasks = differences.shape
    mean, of_seeds, of_tasks = differences.mean(), differences.mean(1), differences.mean(0)
    if tasks < 2:
        return 1.0
    residual = differences - of_seeds[:, None] - of_tasks + mean
    between_seeds, between_tasks = tasks * of_seeds.var(ddof=1), seeds * of_tasks.var(ddof=1)
    within = (residual**2).sum() / ((seeds - 1) * (tasks - 1))
    spread = between_seeds + max(between_tasks - within, 0.0)
    if spread < 1e-12:
        return 1.0 if abs(mean) < 1e-12 else 0.0
    freedom = (seeds - 1) * spread**2 / max(between_seeds, 1e-12) ** 2
    return float(2 * student.sf(abs(mean) / np.sqrt(spread / (seeds * tasks)), freedom))


def corrected(p_values: Sequence[float]) -> list[float]:
    """Corrects the p-values of several comparisons, of which the best is picked (Holm 1979, *A simple sequentially
    rejective multiple test procedure*): the smallest times their number, the next times one less, and so on.
    """
    values = np.asarray(p_values, dtype=float)
    order = values.argsort(kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return steps[order.argsort(kind="stable")].tolist()


def compare_models(table: pd.DataFrame, model: str, reference: str) -> dict[str, dict[str, Paired]]:
    """Compares two models of a run.

    Args:
        table: outcomes of the run, by model, way to execute and task.
        model: name of the compared model.
        reference: name of the model that it is compared with.

    Returns:
        The comparison for each way in which both were executed, and each of `COLUMNS`.
    """
    comparisons: dict[str, dict[str, Paired]] = {}
    for way, rows in table[table.model.isin((model, reference))].groupby("way", sort=False):
        if rows.model.nunique() < 2:
            continue
        values, reference_values = (
            rows[rows.model == name].set_index("task").sort_index() for name in (model, reference)
        )
        for column in COLUMNS:
            compare = compare_rates if column == "success" else compare_errors
            pair = (outcomes[column].to_numpy(float)[None] for outcomes in (values, reference_values))
            comparisons.setdefault(way, {})[column] = compare(*pair)
    return comparisons


def entries(comparisons: dict[str, dict[str, Paired]]) -> dict[str, Any]:
    """Converts comparisons for metrics.json: for each way `num_tasks`, and for each column `Paired.entry`."""
    return {
        way: {
            "num_tasks": by_column["success"].tasks,
            **{column: paired.entry() for column, paired in by_column.items()},
        }
        for way, by_column in comparisons.items()
    }


def in_words(name: str, reference: str, success: Paired, error: Paired | None, best_of: int = 1) -> str:
    """Describes in one sentence how `name` compares with `reference` in success and, if given, in model error.

    Args:
        name: of the compared model or method.
        reference: name of the reference.
        success: the comparison of success; its p-value is corrected if `best_of` is more than one.
        error: the comparison of model error.
        best_of: number of candidates of which the compared one is the best.
    """
    p_value = f"p = {success.p_value:.1g}" if success.p_value >= 1e-4 else "p < 0.0001"
    test = f"McNemar {p_value}" if success.seeds == 1 else f"{p_value} over seeds and tasks"
    test += f", corrected for the best of {best_of}" if best_of > 1 else ""
    same = f"the same {success.tasks} tasks" + (f" and {success.seeds} seeds" if success.seeds > 1 else "")
    lower = f"; probability of a lower model error {probability(error.better)}" if error else ""
    return (
        f"{name} {verdict(success, best_of)} {reference}: success {success.difference:+.2f} on {same}; "
        f"{success.gained} tasks gained, {success.lost} lost ({test}){lower}."
    )


def verdict(paired: Paired, best_of: int = 1) -> str:
    """Judges by the interval of the difference; for the best of several the corrected p-value must be small, too."""
    if best_of > 1 and paired.p_value >= 1 - LEVEL:
        return "is not clearly different from"
    if paired.difference.low > 0:
        return "beats"
    return "loses to" if paired.difference.high < 0 else "is not clearly different from"


def probability(value: float) -> str:
    """Formats a probability with the precision that the number of resamples allows."""
    if np.isnan(value):
        return "–"
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else f"{value:.3f}"
