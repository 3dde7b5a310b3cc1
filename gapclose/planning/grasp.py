"""GRASP: states and actions of all steps are optimised together."""

from functools import lru_cache
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner
from gapclose.planning.search import Search
from gapclose.setting_types import Fraction, NonNegative, Positive


class GRASPPlanner(Planner):
    """Alternates noisy descent on lifted states and actions with descent on the true rollout.

    *A parallel stochastic gradient-based planner for world models* (arXiv 2602.00475, section 3). The intermediate
    states are free variables, tied to the dynamics by a soft constraint. So every step is a separate problem, and no
    gradient passes through the whole horizon. Noise on the states (3.2) lets the search leave local minima. The
    gradient with respect to the model's state input is stopped (3.3), because learned models are brittle there; a goal
    term on every step gives the direction instead. Each iteration ends with a synchronisation (3.4): a few gradient
    steps on the cost of the rollout, which is the plan's cost. The states are not synchronised.

    Unlike in the paper, the noise may be correlated over time, so that neighbouring actions do not cancel out. The
    members of an ensemble have separate states and share the noise.

    Args:
        num_starts: independent searches per task.
        lifted_steps: updates of states and actions per iteration.
        sync_steps: gradient steps on the rollout's cost per iteration.
        state_rate: step of a state toward its prediction per update, as a share of the distance.
        lr: Adam's learning rate for the actions, in units of half the action range.
        state_noise: standard deviation of the noise on the states at the start of each iteration, in units of the
            latents; it falls to 0 by the end of the iteration.
        noise_width: width of the noise's correlation over time, in steps (standard deviation of a Gaussian kernel); 0
            is the paper's white noise.
        goal_weight: weight of the goal term on every step.
        state_init_std: standard deviation of the initial states around the line from start to goal, in units of the
            latents.
        settings: settings of `Planner`.
    """

    uses_gradients = True

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
        actions = self.initial_sequences(search, warm_start, self.num_starts)
        states = self.line(search) + self.state_init_std * self.noise(search)
        states[:, :, -1] = search.goal.unsqueeze(1)
        search.score(actions)
        for _ in search.iterations():
            actions, states = self.lift(search, actions, states)
            actions = self.synchronise(search, actions)
            search.score(actions)

    def line(self, search: Search) -> Tensor:
        """Returns the states `[N, R, T, M, ...]` on the straight line from start to goal."""
        start, goal = (x[:, None, None] for x in (search.start, search.goal))
        way = torch.arange(1, search.steps + 1).to(start) / search.steps
        line = torch.lerp(start, goal, way.view(1, 1, -1, *[1] * (search.start.dim() - 1)))
        return line.repeat(1, self.num_starts, *[1] * search.start.dim())

    def noise(self, search: Search) -> Tensor:
        """Draws Gaussian noise of variance 1 for the states, `[N, R, T, 1, ...]`, the same for all members."""
        shape = self.num_starts, *search.start.shape[2:], search.steps
        white = torch.randn(shape, generator=search.generator)
        smooth = white @ smoothing(search.steps, self.noise_width).T
        return search.for_all_tasks(smooth.movedim(-1, 1).unsqueeze(2))

    def lift(self, search: Search, actions: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Updates actions `[N, R, T, A]` and states `[N, R, T, M, ...]`, all steps of all tasks in parallel."""
        actions = actions.clone().requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.lr)
        first, goal = search.start[:, None, None].expand_as(states[:, :, :1]), search.goal[:, None, None]
        for step in range(self.lifted_steps):
            before = torch.cat((first, states[:, :, :-1]), 2)
            targets = (states + self.goal_weight * goal) / (1 + self.goal_weight)
            results = search.step_gradient(*(x.flatten(1, 2) for x in (before, actions.detach(), targets)))
            predicted, gradient = (x.unflatten(1, actions.shape[1:3]) for x in results)
            # States whose prediction is not finite do not move.
            predicted = predicted.where(predicted.isfinite(), states)
            actions.grad = gradient
            optimizer.step()
            with torch.no_grad():
                actions.clamp_(-1, 1)
            # Gradient descent of the soft constraint with respect to the state is a step toward the prediction.
            noise = self.state_noise * (1 - step / max(self.lifted_steps - 1, 1)) * self.noise(search)
            states = torch.lerp(states, predicted, self.state_rate) + noise
            states[:, :, -1] = goal.squeeze(2)
        return actions.detach(), states

    def synchronise(self, search: Search, actions: Tensor) -> Tensor:
        """Takes gradient steps on the cost of the rollout, from actions `[N, R, T, A]`."""
        actions = actions.clone().requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.lr)
        for _ in range(self.sync_steps):
            _, actions.grad = search.costs_and_gradients(actions.detach())
            optimizer.step()
            with torch.no_grad():
                actions.clamp_(-1, 1)
        return actions.detach()


@lru_cache(maxsize=8)
def smoothing(steps: int, width: float) -> Tensor:
    """Returns a matrix `[T, T]` that correlates white noise over `width` steps and keeps its variance."""
    if not width:
        return torch.eye(steps)
    time = torch.arange(steps)
    kernel = torch.exp(-0.5 * ((time[:, None] - time) / width) ** 2)
    return kernel / kernel.norm(dim=1, keepdim=True)
