"""Model-predictive path integral control."""

from typing import Any

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner
from gapclose.planning.search import Search
from gapclose.setting_types import Positive


class MPPIPlanner(Planner):
    """Averages sampled sequences, weighted by the exponential of their negative costs.

    Williams et al. 2017, *Information theoretic MPC for model-based reinforcement learning*, section III and
    algorithm 2, with several iterations; the control cost is a term of the objective here.

    Args:
        num_samples: sequences per task and iteration.
        noise_std: standard deviation of the samples around the mean, in units of half the action range.
        temperature: temperature of the weights, in units of the standard deviation of the samples' costs, so that one
            value suits every objective.
        settings: settings of `Planner`.
    """

    @validate_call
    def __init__(
        self,
        *,
        num_samples: PositiveInt = 300,
        noise_std: Positive = 0.5,
        temperature: Positive = 0.03,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.num_samples, self.noise_std, self.temperature = num_samples, noise_std, temperature

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        mean = self.initial_sequences(search, warm_start)
        for _ in search.iterations():
            candidates = (mean + self.noise_std * search.normal(self.num_samples)).clamp(-1, 1)
            candidates[:, :1] = mean
            costs = search.score(candidates)
            # Samples whose cost is not finite count as the worst of the others.
            worst = costs.where(costs.isfinite(), -torch.inf).amax(1, keepdim=True)
            costs = costs.minimum(worst).nan_to_num(neginf=0.0)
            scale = costs.std(1, correction=0, keepdim=True).clamp(min=1e-12)
            weights = (-costs / (self.temperature * scale)).softmax(1)
            mean = (weights[:, :, None, None] * candidates).sum(1, keepdim=True)
        search.score(mean)
