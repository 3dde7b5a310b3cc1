"""The cross-entropy method: the sampling baseline for gradient-based planning."""

from typing import Any

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner, require_choice
from gapclose.planning.search import Search, cheapest
from gapclose.setting_types import Positive


class CEMPlanner(Planner):
    """Samples from a Gaussian over action sequences and fits it to the elites (Rubinstein & Kroese 2004, chapter 4).

    Args:
        num_samples: sequences per task and iteration.
        num_elites: number of best sequences that the Gaussian is fitted to.
        init_std: initial standard deviation around the sequence drawn by `init`, in units of half the action range.
        settings: settings of `Planner`.

    Raises:
        UserError: more elites than samples.
    """

    @validate_call
    def __init__(
        self, *, num_samples: PositiveInt = 300, num_elites: PositiveInt = 30, init_std: Positive = 1.0, **settings: Any
    ) -> None:
        super().__init__(**settings)
        require_choice("planner.num_elites", num_elites, "planner.num_samples", num_samples)
        self.num_samples, self.num_elites, self.init_std = num_samples, num_elites, init_std

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        mean = self.initial_sequences(search, warm_start)
        std = torch.full_like(mean, self.init_std)
        search.score(mean)
        for _ in search.iterations():
            candidates = (mean + std * search.normal(self.num_samples)).clamp(-1, 1)
            candidates, costs = self.improve(search, candidates)
            elites = cheapest(candidates, costs, self.num_elites)
            mean, std = elites.mean(1, keepdim=True), elites.std(1, correction=0, keepdim=True)

    def improve(self, search: Search, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the candidates `[N, K, T, A]` from which elites are chosen, and their costs `[N, K]`.

        Subclasses may improve the candidates first.
        """
        return candidates, search.score(candidates)
