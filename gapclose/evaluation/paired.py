"""One model against another on the same tasks: what was gained, what was lost, and how sure that is.

How often equal methods were told apart at the level 0.05, in 500 simulations each (100 tasks; a task succeeds where a
sum of normal scores is high enough, of deviations 1.5 for the task, 1 for the method on the task, 1 for nothing, and
for the seed 0, 0.3 or 0.6):

    seeds, their deviation        1, 0     3, 0     3, 0.3   3, 0.6   8, 0.3
    p-value (McNemar, `gains`)    0.03     0.03     0.05     0.09     0.06
    all pairs pooled in McNemar   0.03     0.09     0.27     0.50     0.36
    interval of the difference    0.06     0.02     0.06     0.15     0.04
    `better`, success             0.06     0.02     0.06     0.16     0.05
    `better`, lognormal errors    0.06     0.03     0.06     0.12     0.03

The bootstrap cannot know from three seeds how much seeds differ; where they do, more seeds help, and the p-value errs
least.
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
"""What a run's models are compared in: columns of tasks.csv."""


class Paired(NamedTuple):
    """How results compare with those of a reference on the same tasks and seeds.

    Attributes:
        seeds: how many there are.
        tasks: how many there are.
        difference: from the reference, with its interval over tasks and seeds.
        better: the paired bootstrap's probability that it is for the better: that success is higher, or error and
            distance are lower, with other tasks and other seeds of the same kind.
        ratio: to the reference; of successes there is none.
        gained: how many tasks succeed in more seeds than with the reference; of other measures there is none.
        lost: how many succeed in fewer.
        p_value: of no difference in success, by `gains`; for one seed McNemar's.
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
        """The same for a dictionary of metrics."""
        found = {**self.difference.entry("difference"), "probability_better": self.better}
        if self.ratio is not None:
            found |= {"ratio": self.ratio.mean, "ratio_ci95": [self.ratio.low, self.ratio.high]}
        if self.p_value is not None:
            found |= {"gained": self.gained, "lost": self.lost, "p_value": self.p_value}
        return found


def compare_rates(outcomes: NDArray, reference: NDArray) -> Paired:
    """Successes `[S, N]` of `S` seeds and `N` tasks against those of a reference, paired `[S, N]`."""
    better = probability_positive(outcomes.astype(float) - reference)
    difference = rate_difference(outcomes, reference)
    return Paired(*outcomes.shape, difference, better, None, *gains(outcomes, reference))


def compare_errors(values: NDArray, reference: NDArray) -> Paired:
    """Errors or distances `[S, N]`, the lower the better, against those of a reference, paired `[S, N]`."""
    change, ratio = values - reference, ratio_interval(values, reference)
    return Paired(*values.shape, mean_interval(change), probability_positive(-change), ratio)


def probability_positive(differences: NDArray) -> float:
    """The share of resamples of differences `[S, N]` with a positive mean, those of a mean of zero counting half."""
    if not np.isfinite(differences).all():
        return float("nan")
    resampled = resampled_means(differences)
    # Sums of whole numbers that should cancel leave a last bit.
    zero = np.abs(resampled) <= 1e-12 * np.abs(differences).max()
    return float(np.where(zero, 0.5, resampled > 0).mean())


def gains(outcomes: NDArray, reference: NDArray) -> tuple[int, int, float]:
    """Tasks gained and lost among outcomes `[S, N]`, and the p-value of no difference.

    With one seed it is that of McNemar's exact test, which wants independent pairs. The `S · N` pairs of several seeds
    are not independent: they share tasks and models. So then a task counts once, as gained if it succeeds in more seeds
    than with the reference, and the p-value is the larger of two: of the exact sign test over tasks, which speaks of
    the models as trained, and of `crossed_test`, which speaks of other seeds, too.
    """
    difference = outcomes.sum(0, dtype=float) - reference.sum(0, dtype=float)
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    if len(outcomes) > 1:
        p_value = max(p_value, crossed_test(outcomes.astype(float) - reference))
    return gained, lost, p_value


def crossed_test(differences: NDArray) -> float:
    """The p-value of a mean of zero for differences `[S, N]`, seeds and tasks being samples of those there could be.

    The t-test of two crossed random factors, as for readers and cases (Hillis 2007, *A comparison of denominator
    degrees of freedom methods for multiple observer ROC analysis*). 0 where nothing varies but the mean is not 0.
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
    """The p-values of several comparisons, of which the most telling is to be picked (Holm 1979, *A simple sequentially
    rejective multiple test procedure*): the smallest times their number, the next times one less, and so on.
    """
    values = np.asarray(p_values, dtype=float)
    order = values.argsort(kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return steps[order.argsort(kind="stable")].tolist()


def compare_models(table: pd.DataFrame, model: str, reference: str) -> dict[str, dict[str, Paired]]:
    """A model of a run against another.

    Args:
        table: of the run's outcomes, by model, way and task.
        model: name of the model.
        reference: name of the other.

    Returns:
        The comparison by way, as far as both were executed so, and by each of `COLUMNS`.
    """
    found: dict[str, dict[str, Paired]] = {}
    for way, rows in table[table.model.isin((model, reference))].groupby("way", sort=False):
        if rows.model.nunique() < 2:
            continue
        one, other = (rows[rows.model == name].set_index("task").sort_index() for name in (model, reference))
        for column in COLUMNS:
            compare = compare_rates if column == "success" else compare_errors
            pair = (values[column].to_numpy(float)[None] for values in (one, other))
            found.setdefault(way, {})[column] = compare(*pair)
    return found


def entries(comparisons: dict[str, dict[str, Paired]]) -> dict[str, Any]:
    """The same for metrics.json: by way `num_tasks`, and by column what `Paired.entry` says."""
    return {
        way: {
            "num_tasks": by_column["success"].tasks,
            **{column: paired.entry() for column, paired in by_column.items()},
        }
        for way, by_column in comparisons.items()
    }


def in_words(one: str, other: str, success: Paired, error: Paired | None, best_of: int = 1) -> str:
    """One sentence on how `one` compares with `other` in success and, if there is such, in model error.

    Args:
        one: name of the first.
        other: name of the second.
        success: of the first against the second; the p-value corrected, if it is the best of several.
        error: likewise.
        best_of: how many the first has been picked from.
    """
    p_value = f"p = {success.p_value:.1g}" if success.p_value >= 1e-4 else "p < 0.0001"
    test = f"McNemar {p_value}" if success.seeds == 1 else f"{p_value} over seeds and tasks"
    test += f", corrected for the best of {best_of}" if best_of > 1 else ""
    same = f"the same {success.tasks} tasks" + (f" and {success.seeds} seeds" if success.seeds > 1 else "")
    lower = f"; probability of a lower model error {probability(error.better)}" if error else ""
    return (
        f"{one} {verdict(success, best_of)} {other}: success {success.difference:+.2f} on {same}; "
        f"{success.gained} tasks gained, {success.lost} lost ({test}){lower}."
    )


def verdict(paired: Paired, best_of: int = 1) -> str:
    """Whether the interval of the difference tells the two apart; of the best of several also the corrected p-value."""
    if best_of > 1 and paired.p_value >= 1 - LEVEL:
        return "is not clearly different from"
    if paired.difference.low > 0:
        return "beats"
    return "loses to" if paired.difference.high < 0 else "is not clearly different from"


def probability(value: float) -> str:
    """A probability as precisely as resamples can tell it."""
    if np.isnan(value):
        return "–"
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else f"{value:.3f}"
