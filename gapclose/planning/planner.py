"""The interface of every planner."""

import logging
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.clock import now
from gapclose.errors import UserError
from gapclose.models.world_model import WorldModel, frozen
from gapclose.planning.initialization import Init, Zeros
from gapclose.planning.objective import Objective
from gapclose.planning.search import Bounds, Budget, Search
from gapclose.settings import NonNegative, Positive

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """Action sequences for `N` tasks.

    Attributes:
        actions: the best found, `[N, T, A]`, inside the action bounds.
        cost: the objective of these actions under the world model, `[N]`.
        elites: sequences worth starting the next search from, best first, `[N, E, T, A]`.
        cost_per_iteration: the best cost found so far, averaged over the tasks, after each iteration (of sampling, too,
            where that comes first) and at the end, `[I]`. With `num_perturbations` only the last is that of the plan.
        seconds_per_iteration: the time that had passed by then, `[I]`.
        actions_per_iteration: the best actions by then, `[I, N, T, A]`, if they were to be remembered.
        model_calls: transitions predicted or differentiated by the world model, over all tasks.
        seconds: time spent.
    """

    actions: Tensor
    cost: Tensor
    elites: Tensor
    cost_per_iteration: Tensor
    seconds_per_iteration: Tensor
    actions_per_iteration: Tensor | None
    model_calls: int
    seconds: float


class Planner(ABC):
    """Searches for the action sequences of least cost under a world model.

    Args:
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        init: what the search starts from; by default the middle of the action bounds.
        horizon: number `T` of steps that it plans.
        iterations: of the search; 0 takes the best of what it starts from, none leaves the end to `seconds`.
        seconds: after how much time the search begins no further iteration; by default time is no limit.
        target_cost: a task whose best plan costs no more is finished, and costs no more time; by default none is.

    Attributes:
        descends: whether its iterations ask for gradients.

    Raises:
        UserError: neither iterations nor seconds are limited.
    """

    descends: bool = False

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        action_low: Tensor,
        action_high: Tensor,
        init: Init | None = None,
        horizon: PositiveInt = 30,
        iterations: NonNegativeInt | None = 30,
        seconds: Positive | None = None,
        target_cost: NonNegative | None = None,
    ) -> None:
        if iterations is None and seconds is None:
            raise UserError("A search without end was asked for; give planner.iterations or planner.seconds.")
        self.bounds = Bounds(action_low, action_high)
        self.init = init or Zeros()
        self.horizon, self.budget = horizon, Budget(iterations, seconds, target_cost)

    def plan(
        self,
        world_model: WorldModel,
        objective: Objective,
        start: Tensor,
        goal: Tensor,
        warm_start: Tensor | None = None,
        generator: torch.Generator | None = None,
        remember: bool = False,
    ) -> Plan:
        """Plans for all tasks at once.

        Args:
            world_model: predicts where actions lead; its parameters receive no gradients.
            objective: says what that costs.
            start: observations `[N, ...]` of where to start.
            goal: observations `[N, ...]` of where to go.
            warm_start: for each task one or more action sequences, best first, `[N, E, T', A]`, to improve upon; the
                plan is then as long as they are.
            generator: source of randomness, on the CPU; the global one by default.
            remember: whether the plan shall tell the best actions after each iteration.

        Raises:
            UserError: the plan would be longer than the model can predict, the objective or the planner asks for what
                the model does not have, or the model predicts no numbers.
        """
        began = now(start)
        steps = self.horizon if warm_start is None else warm_start.shape[2]
        if world_model.longest_rollout is not None and steps > world_model.longest_rollout:
            raise UserError(
                f"planner.horizon is {steps}, but the model predicts {world_model.longest_rollout} steps at most; "
                "choose a shorter horizon."
            )
        objective.require(world_model)
        self.require(world_model)
        with frozen(world_model):
            with torch.no_grad():
                latents = world_model.encode(start), world_model.encode(goal)
            search = Search(world_model, objective, *latents, steps, self.bounds, self.budget, generator, remember)
            elites = self.search(search, None if warm_start is None else search.bounds.normalize(warm_start))
            search.note()
        hopeless = int((~search.best_cost.isfinite()).sum())
        if hopeless:
            sentence = f"For {hopeless} of {len(start)} tasks the world model predicts NaN or infinite values"
            if hopeless == len(start):
                raise UserError(f"{sentence}; its training has probably diverged: choose a smaller learning rate.")
            log.warning("%s; their plans are worthless.", sentence)
        best = search.best.unsqueeze(1)
        elites = search.bounds.denormalize(best if elites is None else torch.cat((best, elites), 1))
        seconds = now(elites) - began
        return Plan(elites[:, 0], search.best_cost, elites, *search.history(), search.model_calls, seconds)

    def can_plan_with(self, world_model: WorldModel) -> bool:
        """Whether the model has the gradients that the search asks for, if it asks for any."""
        return world_model.differentiable or not self.descends or self.budget.iterations == 0

    def require(self, world_model: WorldModel) -> None:
        """Raises `UserError` if the planner asks for what the model does not have."""
        if not self.can_plan_with(world_model):
            raise UserError(
                "The planner descends gradients, and the simulator, which is to take the model's place, has none; "
                "choose a planner that only samples, such as planner=cem, or leave the oracle out."
            )

    @abstractmethod
    def search(self, search: Search, warm_start: Tensor | None) -> Tensor | None:
        """Runs a search, which itself remembers the best that it comes across.

        Args:
            search: asked for costs and gradients of normalised actions.
            warm_start: normalised sequences `[N, E, T, A]` to start from, best first.

        Returns:
            Further sequences `[N, E, T, A]` worth starting the next search from, if there are any.
        """

    def begin(self, search: Search, warm_start: Tensor | None, k: int = 1) -> Tensor:
        """The first `k` normalised sequences, `[N, k, T, A]`: those of the warm start, then draws of `init`."""
        warm = search.best[:, None][:, :0] if warm_start is None else warm_start[:, :k]
        if warm.shape[1] == k:
            return warm
        drawn = self.init.draw(search, k - warm.shape[1]).clamp(-1, 1)
        return torch.cat((warm, drawn), 1)


def require_choice(name: str, value: int, limit_name: str, limit: int) -> None:
    """Raises `UserError` if a number of chosen sequences exceeds the number there is to choose from."""
    if value > limit:
        raise UserError(f"{name} is {value}, more than {limit_name} = {limit}; choose at most that many.")
