"""The interface of every planner, and what all of them need."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from gapclose.errors import UserError
from gapclose.models.world_model import WorldModel
from gapclose.planning.objective import Objective


class Plan(NamedTuple):
    """Action sequences for `N` tasks.

    Attributes:
        actions: `[N, T, A]`, inside the action bounds.
        cost: the objective of these actions under the world model, `[N]`.
        cost_per_iteration: the best cost found so far after each iteration, averaged over the tasks, `[I]`.
        seconds: time spent.
    """

    actions: Tensor
    cost: Tensor
    cost_per_iteration: Tensor
    seconds: float


class Planner(ABC):
    """Searches for the action sequences of least cost under a world model.

    The search is in normalised actions: -1 and 1 are the action bounds.

    Args:
        horizon: number `T` of steps that it plans.
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
    """

    def __init__(self, horizon: int, action_low: Tensor, action_high: Tensor) -> None:
        self.horizon = horizon
        self.action_low, self.action_high = action_low, action_high
        self.middle = (action_high + action_low) / 2
        self.half_range = (action_high - action_low) / 2

    def plan(
        self,
        world_model: WorldModel,
        objective: Objective,
        start: Tensor,
        goal: Tensor,
        warm_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Plans for all tasks at once.

        Args:
            world_model: predicts where actions lead; its parameters receive no gradients.
            objective: says what that costs.
            start: observations `[N, ...]` of where to start.
            goal: observations `[N, ...]` of where to go.
            warm_start: action sequences `[N, T', A]` to improve upon; the plan is then as long as they are.
            generator: source of randomness, on the CPU; the global one by default.
        """
        began = time.perf_counter()
        with frozen(world_model):
            z, z_goal = world_model.encode(start), world_model.encode(goal)
            if warm_start is not None:
                warm_start = ((warm_start - self.middle.to(z)) / self.half_range.to(z)).clamp(-1, 1)
            best, history = self.search(Problem(self, world_model, objective, z, z_goal), warm_start, generator)
            actions = self.denormalize(best)
        return Plan(actions, history[-1], history.mean(1).cpu(), time.perf_counter() - began)

    @abstractmethod
    def search(
        self, problem: "Problem", warm_start: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The best normalised actions `[N, T, A]` found, and the least costs found by each iteration, `[I, N]`."""

    def denormalize(self, actions: Tensor) -> Tensor:
        """Actions in the simulator's units, `[..., A]`, of normalised actions `[..., A]`."""
        middle, half_range, low, high = (
            bound.to(actions) for bound in (self.middle, self.half_range, self.action_low, self.action_high)
        )
        return (middle + half_range * actions).clamp(low, high)


class Problem(NamedTuple):
    """What a search asks of the world model and the objective.

    Attributes:
        planner: whose action bounds apply.
        world_model, objective: as in `Planner.plan`.
        start: latents `[N, M, ...]`.
        goal: latents `[N, M, ...]`.
    """

    planner: Planner
    world_model: WorldModel
    objective: Objective
    start: Tensor
    goal: Tensor

    def expand(self, k: int) -> "Problem":
        """The problem with every task repeated `k` times."""
        return self._replace(start=self.start.repeat_interleave(k, 0), goal=self.goal.repeat_interleave(k, 0))

    def split(self, tasks_at_once: int) -> "list[Problem]":
        """The problem in parts of at most so many tasks."""
        parts = zip(self.start.split(tasks_at_once), self.goal.split(tasks_at_once))
        return [self._replace(start=start, goal=goal) for start, goal in parts]

    def cost(self, actions: Tensor) -> Tensor:
        """Costs `[N]` of normalised action sequences `[N, T, A]`, one per task."""
        actions = self.planner.denormalize(actions)
        return self.objective.cost(self.world_model.rollout(self.start, actions), actions, self.goal)

    @torch.no_grad()
    def score(self, candidates: Tensor) -> Tensor:
        """Costs `[N, K]` of `K` normalised action sequences per task, `[N, K, T, A]`, without gradients."""
        k = candidates.shape[1]
        rows_at_once = 512 if candidates.device.type == "cpu" else 65_536  # More would leave a processor's cache.
        tasks_at_once = max(1, rows_at_once // k)
        return torch.cat(
            [
                part.expand(k).cost(actions.flatten(0, 1)).view(-1, k)
                for part, actions in zip(self.split(tasks_at_once), candidates.split(tasks_at_once))
            ]
        )


@contextmanager
def frozen(module: torch.nn.Module) -> Iterator[None]:
    """Within it no parameter of the module requires a gradient, and the module is in evaluation mode."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter in trained:
            parameter.requires_grad_(True)


def select(candidates: Tensor, index: Tensor) -> Tensor:
    """The sequences `[N, R, T, A]` with the numbers `index [N, R]` among candidates `[N, K, T, A]`."""
    return candidates.gather(1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))


def require_choice(name: str, value: int, limit_name: str, limit: int) -> None:
    """Raises `UserError` if a number of chosen sequences exceeds the number there is to choose from."""
    if value > limit:
        raise UserError(f"{name} is {value}, more than {limit_name} = {limit}; choose at most that many.")
