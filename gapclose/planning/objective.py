"""Planning objectives: the cost of a plan, a weighted sum of named terms."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor, nn

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.models.world_model import WorldModel
from gapclose.setting_types import Fraction, NonNegative, Positive


class Term(nn.Module, ABC):
    """One term of an objective.

    Args:
        weight: factor of its cost.
        initial_share: share of the weight at the start of a search. It grows linearly to 1 at the end of the search;
            candidates are always compared with the full weight.
    """

    @validate_call
    def __init__(self, weight: NonNegative = 1.0, initial_share: Fraction = 1.0) -> None:
        super().__init__()
        self.weight, self.initial_share = weight, initial_share

    @abstractmethod
    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        """Returns unweighted costs `[N]`; the arguments are those of `Objective.cost`."""

    def calibrated(self, world_model: WorldModel, held_out: Trajectories) -> "Term":
        """Returns the term with its weight fitted to the model, if it is automatic; see `Objective.calibrated`."""
        return self


class GoalDistance(Term):
    """Mean squared distance of the latents to the goal's latents, over coordinates and members.

    If the objective has `goal_weights`, the mean over coordinates is weighted with them.

    Args:
        at: `last` uses the last step; `all` averages over all steps; `nearest` uses the step nearest to the goal, and
            `soft_nearest` a smooth minimum over the steps.
        decay: with `all`, the weight of each step relative to that of the next one; below 1, late steps count more.
        temperature: temperature of the smooth minimum, in units of the squared distance; near 0 it is the minimum.
        weight: as in `Term`.
        initial_share: as in `Term`.
    """

    @validate_call
    def __init__(
        self,
        at: Literal["last", "all", "nearest", "soft_nearest"] = "last",
        decay: Positive = 1.0,
        temperature: Positive = 0.01,
        weight: NonNegative = 1.0,
        initial_share: Fraction = 1.0,
    ) -> None:
        super().__init__(weight, initial_share)
        self.at, self.decay, self.temperature = at, decay, temperature
        self.coordinates: Tensor | None = None
        """Weight of each latent coordinate, `[Z]`, with mean 1; `None` weights all equally."""

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        steps = latents[:, -1:] if self.at == "last" else latents[:, 1:]
        squared = (steps - goal.unsqueeze(1)).square()
        if self.coordinates is not None:
            squared = squared * self.coordinates.to(squared)
        squared = squared.flatten(2).mean(2)
        if self.at == "nearest":
            return squared.amin(1)
        if self.at == "soft_nearest":
            excess = torch.logsumexp(-squared / self.temperature, 1) - math.log(squared.shape[1])
            return -self.temperature * excess
        steps_left = torch.arange(squared.shape[1] - 1, -1, -1, device=squared.device, dtype=squared.dtype)
        return squared @ (math.log(self.decay) * steps_left).softmax(0)


class Disagreement(Term):
    """Variance between the ensemble's members, averaged over coordinates and summed over steps; 0 for one member.

    Args:
        weight: as in `Term`, or `auto`. With `auto`, the average disagreement along held-out trajectories costs as much
            as missing the goal by a full step (the 95 % quantile of their steps). So the less the members disagree on
            held-out data, the higher is the weight.
        initial_share: as in `Term`.
    """

    @validate_call
    def __init__(self, weight: NonNegative | Literal["auto"] = 1.0, initial_share: Fraction = 1.0) -> None:
        super().__init__(1.0 if weight == "auto" else weight, initial_share)
        self.automatic = weight == "auto"

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        return latents.var(2, correction=0).flatten(2).mean(2).sum(1)

    @torch.no_grad()
    def calibrated(self, world_model: WorldModel, held_out: Trajectories) -> "Disagreement":
        if not self.automatic:
            return self
        encoded = world_model.encode(held_out.states.flatten(0, 1)).unflatten(0, held_out.states.shape[:2])
        step = (encoded[:, 1:] - encoded[:, :-1]).square().flatten(2).mean(2).quantile(0.95).item()
        disagreement = self(world_model.rollout(encoded[:, 0], held_out.actions), held_out.actions, encoded[:, 0])
        mean = disagreement.mean().item()
        return Disagreement(step / mean if mean > 0 else 0.0, self.initial_share)


class ActionSize(Term):
    """Mean squared action over coordinates and steps, in the simulator's units."""

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        return actions.square().mean((1, 2))


class Smoothness(Term):
    """Mean squared change from one action to the next, over coordinates and steps, in the simulator's units."""

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        if actions.shape[1] == 1:
            return actions.new_zeros(len(actions))
        return actions.diff(dim=1).square().mean((1, 2))


class Objective(nn.Module):
    """The weighted sum of its terms.

    Args:
        terms: the terms, by name.
        goal_weights: relative weight of each latent coordinate in the distance to the goal, `[Z]`; by default, all
            weights are equal.

    Raises:
        UserError: no goal distance has a positive weight.
    """

    def __init__(self, terms: Mapping[str, Term], goal_weights: Tensor | None = None) -> None:
        super().__init__()
        for term in terms.values():
            if goal_weights is not None and isinstance(term, GoalDistance):
                term.coordinates = goal_weights / goal_weights.mean()
        if not any(term.weight > 0 for term in terms.values() if isinstance(term, GoalDistance)):
            raise UserError(
                f"None of the terms of the objective ({', '.join(terms)}) measures the distance to the goal with a "
                "positive weight; give the goal term a positive weight."
            )
        self.terms = nn.ModuleDict(terms)
        self.changes = any(term.weight > 0 and term.initial_share < 1 for term in terms.values())
        """Whether the weight of a term changes during a search."""

    def cost(self, latents: Tensor, actions: Tensor, goal: Tensor, progress: float = 1.0) -> Tensor:
        """Returns the costs `[N]` of plans.

        Args:
            latents: imagined latents `[N, T+1, M, ...]`.
            actions: actions `[N, T, A]`, in the simulator's units.
            goal: latents of the goals, `[N, M, ...]`.
            progress: share of the search's budget that is spent; it only matters if weights change.
        """
        total = 0.0
        for term in self.terms.values():
            if term.weight > 0:
                share = term.initial_share + (1 - term.initial_share) * progress
                total = total + term.weight * share * term(latents, actions, goal)
        return total

    def calibrated(self, world_model: WorldModel, held_out: Trajectories) -> "Objective":
        """Returns the objective with its automatic weights fitted to a world model.

        Args:
            world_model: the model to plan with.
            held_out: held-out trajectories of the length of a plan.
        """
        return Objective({name: term.calibrated(world_model, held_out) for name, term in self.terms.items()})

    def require(self, world_model: WorldModel) -> None:
        """Raises `UserError` if the objective does not suit the model."""
        if self.weight("disagreement") and world_model.members == 1:
            raise UserError(
                "The objective penalises the disagreement of an ensemble, but the model has a single member; choose "
                "objective=goal, or model=ensemble."
            )

    def weight(self, name: str) -> float:
        """Returns the weight of the term with this name, or 0 if there is none."""
        return self.terms[name].weight if name in self.terms else 0.0

    def without(self, name: str) -> "Objective":
        """Returns the objective without the term of this name."""
        return Objective({other: term for other, term in self.terms.items() if other != name})

    def goal_alone(self) -> "Objective":
        """Returns the objective with its goal distances only."""
        return Objective({name: term for name, term in self.terms.items() if isinstance(term, GoalDistance)})
