"""The cross-entropy method: the sampling planner that gradient-based planning is measured against."""

import torch
from pydantic import ConfigDict, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner, Problem, require_choice, select
from gapclose.progress import track
from gapclose.settings import Positive


class CEMPlanner(Planner):
    """Samples from a Gaussian over action sequences and fits it to the elites (Rubinstein & Kroese 2004, chapter 4).

    Args:
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        horizon: number of steps that it plans.
        num_samples: sequences per task and iteration.
        num_elites: how many of the best the Gaussian is fitted to.
        iterations: how often.
        init_std: initial standard deviation, in units of half the action range.

    Raises:
        UserError: more elites than samples.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        action_low: Tensor,
        action_high: Tensor,
        horizon: PositiveInt = 30,
        num_samples: PositiveInt = 300,
        num_elites: PositiveInt = 30,
        iterations: PositiveInt = 30,
        init_std: Positive = 1.0,
    ) -> None:
        super().__init__(horizon, action_low, action_high)
        require_choice("planner.num_elites", num_elites, "planner.num_samples", num_samples)
        self.num_samples, self.num_elites = num_samples, num_elites
        self.iterations, self.init_std = iterations, init_std

    @torch.no_grad()
    def search(
        self, problem: Problem, warm_start: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        n, action_dim = len(problem.start), len(self.half_range)
        mean = problem.start.new_zeros(n, self.horizon, action_dim) if warm_start is None else warm_start
        std = torch.full_like(mean, self.init_std)
        best, best_cost = mean, problem.score(mean.unsqueeze(1)).squeeze(1)
        history = []
        for _ in track(range(self.iterations), "planning"):
            noise = torch.randn(n, self.num_samples, *mean.shape[1:], generator=generator).to(mean)
            candidates = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(-1, 1)
            costs, order = problem.score(candidates).topk(self.num_elites, 1, largest=False)
            elites = select(candidates, order)
            mean, std = elites.mean(1), elites.std(1, correction=0)
            better = costs[:, 0] < best_cost
            best_cost = torch.where(better, costs[:, 0], best_cost)
            best = torch.where(better[:, None, None], elites[:, 0], best)
            history.append(best_cost)
        return best, torch.stack(history)
