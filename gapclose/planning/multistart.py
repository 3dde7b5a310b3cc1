"""Sample, select, refine: gradient descent from the best of many starts."""

from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Knots
from gapclose.planning.planner import require_choice
from gapclose.planning.search import Search, cheapest
from gapclose.settings import NonNegative


class MultistartPlanner(GradientPlanner):
    """Samples sequences, draws new ones around the best, and descends the gradient from the best of those.

    One start seldom suffices: the landscape has a local minimum behind every wall, also where the dynamics are the
    true ones.

    Args:
        num_samples: sequences sampled per task.
        num_resamples: how often as many are drawn anew around the best; with a warm start, once around that, and
            `init` is not asked. They do not count as iterations.
        num_elites: how many of the best they are drawn around; these stay among the candidates.
        resample_scale: how far around them: noise that is uniform up to it, in units of half the action range.
        num_knots: constant pieces of that noise.
        num_starts: from how many of the best the gradient is descended.
        settings: those of `GradientPlanner`.

    Raises:
        UserError: more elites or starts than samples.
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
        self.resample_scale, self.spread = resample_scale, Knots(num_knots)

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        if warm_start is None:
            candidates, resamples = self.begin(search, None, self.num_samples), self.num_resamples
        else:
            candidates, resamples = self.around(search, warm_start), 0
        costs = search.score(candidates)
        for _ in range(resamples):
            search.note()
            if search.exhausted():
                break
            candidates = self.around(search, cheapest(candidates, costs, self.num_elites))
            costs = search.score(candidates)
        search.note()
        self.descend(search, cheapest(candidates, costs, self.num_starts))

    def around(self, search: Search, elites: Tensor) -> Tensor:
        """The elites `[N, E, T, A]` among `[N, num_samples, T, A]` drawn around them."""
        kept = min(elites.shape[1], self.num_samples)
        noise = self.resample_scale * self.spread.draw(search, self.num_samples)
        noise[:, :kept] = 0
        return (elites[:, torch.arange(self.num_samples) % elites.shape[1]] + noise).clamp(-1, 1)
