"""Gradient descent on the action sequence, through the world model, from many starts."""

from typing import Literal

import torch
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.initialization import Init, initial_actions
from gapclose.planning.planner import Planner, Problem, require_choice, select
from gapclose.progress import track
from gapclose.settings import NonNegative, Positive

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "momentum": lambda actions, lr: torch.optim.SGD(actions, lr=lr, momentum=0.9),
}


TASKS_AT_ONCE = 1024
"""How many tasks descend together: it bounds the memory that the gradient takes."""


class GradientPlanner(Planner):
    """Samples starts, draws new ones around the best, and descends the gradient from the best of those.

    With one start it is the planner of *Closing the Train-Test Gap in World Models for Gradient-Based Planning*
    (arXiv 2512.09929, section 3). One start seldom suffices: the landscape has a local minimum behind every wall, also
    where the dynamics are the true ones.

    Args:
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        horizon: number of steps that it plans.
        init: distribution of the starts, see `initial_actions`.
        num_knots: constant pieces per sequence with `init=knots`.
        num_starts: sequences sampled per task.
        num_resamples: how often as many are drawn anew around the best; with a warm start, once around that.
        num_elites: how many of the best they are drawn around; these stay among the candidates.
        resample_scale: spread around them, as a fraction of the spread of `init`.
        num_refined: from how many of the best the gradient is descended.
        iterations: gradient steps.
        optimizer: `adam`, `adamw`, `sgd` or `momentum` (SGD with momentum 0.9).
        lr: learning rate, in units of half the action range.
        action_noise: standard deviation of the noise added to the actions after each step, in the same units.

    Raises:
        UserError: more elites or refined sequences than starts.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        action_low: Tensor,
        action_high: Tensor,
        horizon: PositiveInt = 30,
        init: Init = "knots",
        num_knots: PositiveInt = 4,
        num_starts: PositiveInt = 160,
        num_resamples: NonNegativeInt = 3,
        num_elites: PositiveInt = 8,
        resample_scale: NonNegative = 0.4,
        num_refined: PositiveInt = 4,
        iterations: NonNegativeInt = 30,
        optimizer: Literal["adam", "adamw", "sgd", "momentum"] = "adam",
        lr: Positive = 0.1,
        action_noise: NonNegative = 0.0,
    ) -> None:
        super().__init__(horizon, action_low, action_high)
        require_choice("planner.num_refined", num_refined, "planner.num_starts", num_starts)
        if num_resamples:
            require_choice("planner.num_elites", num_elites, "planner.num_starts", num_starts)
        self.init, self.num_knots = init, num_knots
        self.num_starts, self.num_resamples = num_starts, num_resamples
        self.num_elites, self.resample_scale = num_elites, resample_scale
        self.num_refined, self.iterations = num_refined, iterations
        self.optimizer, self.lr, self.action_noise = optimizer, lr, action_noise

    def search(
        self, problem: Problem, warm_start: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        candidates = self.sample(problem, warm_start, generator)
        parts = zip(problem.split(TASKS_AT_ONCE), candidates.split(TASKS_AT_ONCE))
        found = [self.refine(part, of_part, generator) for part, of_part in parts]
        return torch.cat([best for best, _ in found]), torch.cat([history for _, history in found], 1)

    def sample(self, problem: Problem, warm_start: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The best sampled sequences, `[N, R, T, A]`."""
        n, k = len(problem.start), self.num_starts
        steps = self.horizon if warm_start is None else warm_start.shape[1]
        shape = (n, k, steps, len(self.half_range))

        def draw() -> Tensor:
            return initial_actions(self.init, shape, self.num_knots, generator, problem.start)

        if warm_start is None:
            candidates, resamples = draw().clamp(-1, 1), self.num_resamples
        else:
            around = self.resample_scale * draw()
            around[:, 0] = 0
            candidates = (warm_start.unsqueeze(1) + around).clamp(-1, 1)
            resamples = 0
        if k == self.num_refined and resamples == 0:
            return candidates
        costs = problem.score(candidates)
        for _ in track(range(resamples), "sampling"):
            elites = select(candidates, costs.topk(self.num_elites, 1, largest=False).indices)
            around = self.resample_scale * draw()
            around[:, : self.num_elites] = 0
            rows = torch.arange(k) % self.num_elites
            candidates = (elites[:, rows] + around).clamp(-1, 1)
            costs = problem.score(candidates)
        return select(candidates, costs.topk(self.num_refined, 1, largest=False).indices)

    def refine(self, problem: Problem, candidates: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Descends from candidates `[N, R, T, A]`; of all iterates of all of them, the best of each task counts."""
        n, r = candidates.shape[:2]
        problem = problem.expand(r)
        actions = candidates.flatten(0, 1).detach().clone().requires_grad_()
        optimizer = OPTIMIZERS[self.optimizer]([actions], lr=self.lr)
        best_cost = actions.new_full((n * r,), torch.inf)
        best = actions.detach().clone()
        history = []
        for iteration in track(range(self.iterations + 1), "planning"):
            last = iteration == self.iterations
            with torch.set_grad_enabled(not last):
                cost = problem.cost(actions)
            with torch.no_grad():
                better = cost < best_cost
                best_cost = torch.where(better, cost, best_cost)
                best = torch.where(better[:, None, None], actions, best)
                history.append(best_cost.view(n, r).amin(1))
            if last:
                break
            (actions.grad,) = torch.autograd.grad(cost, actions, torch.ones_like(cost))
            optimizer.step()
            with torch.no_grad():
                if self.action_noise:
                    noise = torch.randn(actions.shape, generator=generator).to(actions)
                    actions.add_(noise, alpha=self.action_noise)
                actions.clamp_(-1, 1)
        winner = best_cost.view(n, r).argmin(1, keepdim=True)
        return select(best.view(candidates.shape), winner).squeeze(1), torch.stack(history)
