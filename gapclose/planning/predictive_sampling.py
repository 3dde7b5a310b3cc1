"""Predictive sampling: noisy copies of the best sequence so far."""

from typing import Any

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.initialization import hold
from gapclose.planning.planner import Planner
from gapclose.planning.search import Search
from gapclose.setting_types import Positive


class PredictiveSamplingPlanner(Planner):
    """In each iteration, keeps the best of some noisy copies of the best sequence so far.

    Howell et al. 2022, *Predictive sampling: real-time behaviour synthesis with MuJoCo* (arXiv 2212.00541), section
    4.1, with noise that is constant between knots.

    Args:
        num_samples: noisy copies per task and iteration.
        num_knots: number of constant pieces of the noise.
        noise_std: standard deviation of the noise, in units of half the action range.
        settings: settings of `Planner`.
    """

    @validate_call
    def __init__(
        self, *, num_samples: PositiveInt = 300, num_knots: PositiveInt = 6, noise_std: Positive = 0.3, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.num_samples, self.num_knots, self.noise_std = num_samples, num_knots, noise_std

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        search.score(self.initial_sequences(search, warm_start))
        _, k, steps, action_dim = search.shape(self.num_samples)
        for _ in search.iterations():
            knots = torch.randn(k, self.num_knots, action_dim, generator=search.generator)
            noise = search.for_all_tasks(self.noise_std * hold(knots, steps))
            search.score((search.best.unsqueeze(1) + noise).clamp(-1, 1))
