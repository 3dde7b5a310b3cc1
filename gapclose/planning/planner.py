"""The interface of planners."""

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
from gapclose.setting_types import NonNegative, Positive

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """Action sequences for `N` tasks.

    Attributes:
        actions: the best actions, `[N, T, A]`, inside the action bounds.
        cost: their cost under the world model, `[N]`.
        elites: sequences to start the next search from, best first, `[N, E, T, A]`; the first is `actions`.
        cost_per_iteration: least cost so far, averaged over the tasks, after each iteration (including rounds of
            sampling before the first) and at the end, `[I]`. With `num_perturbations`, only the last is the plan's.
        seconds_per_iteration: time elapsed by then, `[I]`.
        actions_per_iteration: the best actions by then, `[I, N, T, A]`, if the search remembered them.
        model_calls: transitions predicted or differentiated by the world model, over all tasks.
        seconds: time spent on the search.
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
    """Searches for action sequences of least cost under a world model.

    Args:
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        init: distribution of the initial sequences; by default the middle of the action bounds.
        horizon: number `T` of steps of a plan.
        iterations: number of iterations; 0 returns the best initial sequence, `None` leaves the limit to `seconds`.
        seconds: time after which no further iteration starts; `None` means no limit.
        target_cost: cost at or below which the search for a task stops; `None`: no task stops early.

    Attributes:
        uses_gradients: whether the iterations use gradients.

    Raises:
        UserError: neither `iterations` nor `seconds` is given.
    """

    uses_gradients: bool = False

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
            raise UserError("The search has no limit; give planner.iterations or planner.seconds, or both.")
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
            world_model: predicts the latents; its parameters receive no gradients.
            objective: scores the predictions.
            start: observations `[N, ...]` of the starts.
            goal: observations `[N, ...]` of the goals.
            warm_start: one or more action sequences per task to start from, best first, `[N, E, T', A]`; the plan then
                has their length `T'`.
            generator: source of randomness, on the CPU; the global one by default.
            remember: whether to return the best actions after each iteration.

        Raises:
            UserError: the horizon is longer than the model can predict, the objective or the planner does not suit the
                model, or all predictions are NaN or infinite.
        """
        began = now(start)
        steps = self.horizon if warm_start is None else warm_start.shape[2]
        if world_model.longest_rollout is not None and steps > world_model.longest_rollout:
            raise UserError(
                f"planner.horizon is {steps}, but the model predicts at most {world_model.longest_rollout} steps; "
                "choose a shorter horizon."
            )
        objective.require(world_model)
        self.require(world_model)
        with frozen(world_model):
            with torch.no_grad():
                latents = world_model.encode(start), world_model.encode(goal)
            search = Search(world_model, objective, *latents, steps, self.bounds, self.budget, generator, remember)
            elites = self.search(search, None if warm_start is None else search.bounds.normalize(warm_start))
            search.record()
        failed = int((~search.best_cost.isfinite()).sum())
        if failed:
            sentence = f"For {failed} of {len(start)} tasks {world_model.name} predicts NaN or infinite values"
            if failed == len(start):
                raise UserError(f"{sentence}; its training has probably diverged: choose a smaller learning rate.")
            log.warning("%s; their plans are meaningless.", sentence)
        best = search.best.unsqueeze(1)
        elites = search.bounds.denormalize(best if elites is None else torch.cat((best, elites), 1))
        seconds = now(elites) - began
        return Plan(elites[:, 0], search.best_cost, elites, *search.history(), search.model_calls, seconds)

    def can_plan_with(self, world_model: WorldModel) -> bool:
        """Whether the model has gradients, if the search needs them."""
        return world_model.differentiable or not self.uses_gradients or self.budget.iterations == 0

    def require(self, world_model: WorldModel) -> None:
        """Raises `UserError` if the planner does not suit the model."""
        if not self.can_plan_with(world_model):
            raise UserError(
                "The planner needs gradients, but the simulator, which replaces the model here, has none; choose a "
                "planner that only samples, such as planner=cem, or do not plan with the oracle."
            )

    @abstractmethod
    def search(self, search: Search, warm_start: Tensor | None) -> Tensor | None:
        """Runs a search. The best sequences are kept by `search` itself.

        Args:
            search: computes costs and gradients of normalised actions.
            warm_start: normalised sequences `[N, E, T, A]` to start from, best first.

        Returns:
            Further normalised sequences `[N, E, T, A]` to start the next search from, or `None`.
        """

    def initial_sequences(self, search: Search, warm_start: Tensor | None, k: int = 1) -> Tensor:
        """Returns `k` normalised sequences `[N, k, T, A]`: first those of the warm start, then draws of `init`."""
        warm = search.best[:, None][:, :0] if warm_start is None else warm_start[:, :k]
        if warm.shape[1] == k:
            return warm
        drawn = self.init.draw(search, k - warm.shape[1]).clamp(-1, 1)
        return torch.cat((warm, drawn), 1)


def require_choice(name: str, value: int, limit_name: str, limit: int) -> None:
    """Raises `UserError` if more sequences are chosen than there are candidates."""
    if value > limit:
        raise UserError(f"{name} is {value}, more than {limit_name} = {limit}; choose at most that many.")
