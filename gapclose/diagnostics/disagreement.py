"""Does disagreement predict the errors? Rank correlations of the two, for ensembles."""

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from gapclose.diagnostics.error_maps import Step
from gapclose.evaluation.statistics import statistic_interval
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution
from gapclose.planning.objective import Disagreement


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of all pairs of `x [...]` and `y [...]` without NaN."""
    known = ~(x.isnan() | y.isnan())
    x, y = (values[known].double().cpu().numpy() for values in (x, y))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(spearmanr(x, y).statistic)


def rank_correlation_over_tasks(x: Tensor, y: Tensor) -> dict[str, Any]:
    """The same for `[N]` or `[N, L]`, with an interval that resamples tasks instead of pairs."""

    def of_tasks(numbers: np.ndarray) -> float:
        return rank_correlation(x[torch.from_numpy(numbers)], y[torch.from_numpy(numbers)])

    x, y = x.cpu(), y.cpu()
    correlation = statistic_interval(np.arange(len(x)), of_tasks, rank_correlation(x, y), num_resamples=300)
    return correlation.entry("rank_correlation")


@torch.no_grad()
def disagreement_metrics(
    world_model: WorldModel, arena: Step | None, plans: dict[str, Step], execution: Execution
) -> dict[str, Any]:
    """Computes rank correlations of disagreement and true error.

    Returns:
        `arena`: over the cells of the map; `real` and `imagined`: over single steps from the states along plans;
        `plans`: over whole plans, of the disagreement term of the planner's cost and the mean error of the imagined
        states.
    """
    metrics: dict[str, Any] = {} if arena is None else {"arena": {"rank_correlation": rank_correlation(*arena)}}
    metrics |= {name: rank_correlation_over_tasks(step.error, step.disagreement) for name, step in plans.items()}
    latents = world_model.rollout(world_model.encode(execution.states[:, 0]), execution.actions)
    disagreement = Disagreement()(latents, execution.actions, latents[:, 0])
    return metrics | {"plans": rank_correlation_over_tasks(disagreement, execution.squared_errors().nanmean(1))}
