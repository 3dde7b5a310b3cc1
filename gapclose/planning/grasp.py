"""GRASP: the states between start and goal are optimised beside the actions, all steps at once."""

from functools import lru_cache
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner
from gapclose.planning.search import Search
from gapclose.settings import Fraction, NonNegative, Positive


class GRASPPlanner(Planner):
    """Alternates noisy descent on lifted states and actions with descent on the true rollout.

    *A parallel stochastic gradient-based planner for world models* (arXiv 2602.00475, section 3). The states are
    variables of their own, tied to the dynamics by a soft constraint, so every step is a problem of its own and no
    gradient passes through the whole horizon. Noise on the states (3.2) lets the search leave local minima. The
    gradient into the model's state input is stopped (3.3): learned models are brittle there; a goal term on every step
    gives the direction instead. Each iteration ends with a synchronisation (3.4): a few steps of plain descent on the
    rollout of the actions, whose cost is what counts. The states go on from where they were.

    Beyond the paper, the noise may be correlated over time: neighbouring actions then do not push against each other.
    Members of an ensemble have states of their own and share the noise.

    Args:
        num_starts: independent searches per task.
        lifted_steps: updates of states and actions per iteration.
        sync_steps: gradient steps on the rollout's cost per iteration.
        state_rate: share of the way to its prediction that a state goes per update.
        lr: Adam's learning rate for the actions, in units of half the action range.
        state_noise: standard deviation of the noise on the states at the start of each iteration, in units of the
            latents; it falls to 0 by the end of the iteration.
        noise_width: over how many steps the noise is correlated (standard deviation of a Gaussian kernel); 0 is the
            paper's white noise.
        goal_weight: weight of the goal term on every step.
        state_init_std: standard deviation of the first states around the line from start to goal, in the same units.
        settings: those of `Planner`.
    """

    descends = True

    @validate_call
    def __init__(
        self,
        *,
        num_starts: PositiveInt = 4,
        lifted_steps: PositiveInt = 10,
        sync_steps: NonNegativeInt = 5,
        state_rate: Fraction = 0.06,
        lr: Positive = 0.2,
        state_noise: NonNegative = 0.4,
        noise_width: NonNegative = 2.0,
        goal_weight: NonNegative = 0.1,
        state_init_std: NonNegative = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.num_starts, self.lifted_steps, self.sync_steps = num_starts, lifted_steps, sync_steps
        self.state_rate, self.lr, self.state_noise, self.noise_width = state_rate, lr, state_noise, noise_width
        self.goal_weight, self.state_init_std = goal_weight, state_init_std

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        actions = self.begin(search, warm_start, self.num_starts)
        states = self.line(search) + self.state_init_std * self.noise(search)
        states[:, :, -1] = search.goal.unsqueeze(1)
        search.score(actions)
        for _ in search.iterations():
            actions, states = self.lift(search, actions, states)
            actions = self.synchronise(search, actions)
            search.score(actions)

    def line(self, search: Search) -> Tensor:
        """The states `[N, R, T, M, ...]` on the straight line from start to goal."""
        start, goal = (x[:, None, None] for x in (search.start, search.goal))
        way = torch.arange(1, search.steps + 1).to(start) / search.steps
        line = torch.lerp(start, goal, way.view(1, 1, -1, *[1] * (search.start.dim() - 1)))
        return line.repeat(1, self.num_starts, *[1] * search.start.dim())

    def noise(self, search: Search) -> Tensor:
        """Gaussian noise of variance 1 on the states, `[N, R, T, 1, ...]`: the same for all members."""
        shape = self.num_starts, *search.start.shape[2:], search.steps
        white = torch.randn(shape, generator=search.generator)
        smooth = white @ smoothing(search.steps, self.noise_width).T
        return search.for_all(smooth.movedim(-1, 1).unsqueeze(2))

    def lift(self, search: Search, actions: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Updates of actions `[N, R, T, A]` and states `[N, R, T, M, ...]`, all steps of all tasks in parallel."""
        actions = actions.clone().requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.lr)
        first, goal = search.start[:, None, None].expand_as(states[:, :, :1]), search.goal[:, None, None]
        for step in range(self.lifted_steps):
            before = torch.cat((first, states[:, :, :-1]), 2)
            targets = (states + self.goal_weight * goal) / (1 + self.goal_weight)
            pulled = search.pull(*(x.flatten(1, 2) for x in (before, actions.detach(), targets)))
            predicted, gradient = (x.unflatten(1, actions.shape[1:3]) for x in pulled)
            predicted = predicted.where(predicted.isfinite(), states)  # A state without a prediction stays.
            actions.grad = gradient
            optimizer.step()
            with torch.no_grad():
                actions.clamp_(-1, 1)
            # The gradient of the soft constraint for its target is known, and so is where it leads.
            noise = self.state_noise * (1 - step / max(self.lifted_steps - 1, 1)) * self.noise(search)
            states = torch.lerp(states, predicted, self.state_rate) + noise
            states[:, :, -1] = goal.squeeze(2)
        return actions.detach(), states

    def synchronise(self, search: Search, actions: Tensor) -> Tensor:
        """Descent on the cost of the rollout from actions `[N, R, T, A]`."""
        actions = actions.clone().requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.lr)
        for _ in range(self.sync_steps):
            _, actions.grad = search.gradient(actions.detach())
            optimizer.step()
            with torch.no_grad():
                actions.clamp_(-1, 1)
        return actions.detach()


@lru_cache(maxsize=8)
def smoothing(steps: int, width: float) -> Tensor:
    """`[T, T]`: turns white noise into noise of the same variance that is correlated over `width` steps."""
    if not width:
        return torch.eye(steps)
    time = torch.arange(steps)
    kernel = torch.exp(-0.5 * ((time[:, None] - time) / width) ** 2)
    return kernel / kernel.norm(dim=1, keepdim=True)
