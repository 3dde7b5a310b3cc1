"""Gradient descent from the best of many sampled starts."""

from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Knots
from gapclose.planning.planner import require_choice
from gapclose.planning.search import Search, cheapest
from gapclose.setting_types import NonNegative


class MultistartPlanner(GradientPlanner):
    """Samples sequences, resamples around the best, and descends the gradient from the best of those.

    One start is rarely enough: the cost has a local minimum behind every wall, even with the true dynamics.

    Args:
        num_samples: sequences sampled per task.
        num_resamples: number of rounds in which as many sequences are resampled around the elites; these rounds do not
            count as iterations. With a warm start, there is one round around its sequences, and `init` is not used.
        num_elites: number of best sequences to resample around; they stay among the candidates.
        resample_scale: bound of the uniform noise in resampling, in units of half the action range.
        num_knots: number of constant pieces of that noise.
        num_starts: number of best sequences from which descent starts.
        settings: settings of `GradientPlanner`.

    Raises:
        UserError: there are more elites or starts than samples.
    """

    @validate_call
    def __init__(
        self,
        *,
        num_samples: PositiveInt = 160,
        num_resamples: NonNegativeInt = 3,
        num_elites: PositiveInt = 8,
        resample_scale: NonNegative = 0.4,
        num_knots: PositiveInt = 4,
        num_starts: PositiveInt = 4,
        **settings: Any,
    ) -> None:
        super().__init__(num_starts=num_starts, **settings)
        require_choice("planner.num_starts", num_starts, "planner.num_samples", num_samples)
        require_choice("planner.num_elites", num_elites, "planner.num_samples", num_samples)
        self.num_samples, self.num_resamples, self.num_elites = num_samples, num_resamples, num_elites
        self.resample_scale, self.noise = resample_scale, Knots(num_knots)

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        if warm_start is None:
            candidates, resamples = self.initial_sequences(search, None, self.num_samples), self.num_resamples
        else:
            candidates, resamples = self.resample(search, warm_start), 0
        costs = search.score(candidates)
        for _ in range(resamples):
            search.record()
            if search.exhausted():
                break
            candidates = self.resample(search, cheapest(candidates, costs, self.num_elites))
            costs = search.score(candidates)
        search.record()
        self.descend(search, cheapest(candidates, costs, self.num_starts))

    def resample(self, search: Search, elites: Tensor) -> Tensor:
        """Returns sequences `[N, num_samples, T, A]`: the elites `[N, E, T, A]`, and samples around them."""
        kept = min(elites.shape[1], self.num_samples)
        noise = self.resample_scale * self.noise.draw(search, self.num_samples)
        noise[:, :kept] = 0
        return (elites[:, torch.arange(self.num_samples) % elites.shape[1]] + noise).clamp(-1, 1)
