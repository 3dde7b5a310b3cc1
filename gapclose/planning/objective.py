"""What a plan is judged by: a weighted sum of named terms."""

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
from gapclose.settings import Fraction, NonNegative, Positive


class Term(nn.Module, ABC):
    """One summand of an objective.

    Args:
        weight: what its cost is multiplied with.
        initial_share: the share of the weight that counts when a search begins; it grows linearly, and all of it
            counts when the search ends, and when the plans that it came across are compared.
    """

    @validate_call
    def __init__(self, weight: NonNegative = 1.0, initial_share: Fraction = 1.0) -> None:
        super().__init__()
        self.weight, self.initial_share = weight, initial_share

    @abstractmethod
    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        """Unweighted costs `[N]`; the arguments are those of `Objective.cost`."""

    def calibrated(self, world_model: WorldModel, held_out: Trajectories) -> "Term":
        """The term with a weight that suits the world model, if its weight is not fixed; see `Objective.calibrated`."""
        return self


class GoalDistance(Term):
    """Mean squared distance of the latents to the goal's, over coordinates and members.

    Where the objective knows how much each coordinate counts, the mean over them is weighted.

    Args:
        at: `last` looks at the last step; `all` averages over all steps; `nearest` takes the nearest step, and
            `soft_nearest` a smooth minimum over the steps.
        decay: with `all`, the weight of each step relative to the next one's: below 1, late steps count more.
        temperature: of the smooth minimum, in units of the squared distance; small is close to `nearest`.
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
        """How much each coordinate of a latent counts, `[Z]`, 1 on average; none for all alike."""

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
        weight: as in `Term`, or `auto`: a plan on which the members disagree as much as they do, on average, along
            held-out trajectories then pays as much as for missing the goal by a full step (the 95 % quantile of
            the steps there). The less a model has to disagree about where it was trained, the more disagreement says.
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
    """The sum of its terms.

    Args:
        terms: the terms by name.
        goal_weights: how much each coordinate of a latent counts in the distance to the goal, `[Z]`, relative to one
            another; by default all count alike.

    Raises:
        UserError: no term that knows the goal has a positive weight.
    """

    def __init__(self, terms: Mapping[str, Term], goal_weights: Tensor | None = None) -> None:
        super().__init__()
        for term in terms.values():
            if goal_weights is not None and isinstance(term, GoalDistance):
                term.coordinates = goal_weights / goal_weights.mean()
        if not any(term.weight > 0 for term in terms.values() if isinstance(term, GoalDistance)):
            raise UserError(
                f"No term of the objective ({', '.join(terms)}) says where to go; give the goal's a positive weight."
            )
        self.terms = nn.ModuleDict(terms)
        self.changes = any(term.weight > 0 and term.initial_share < 1 for term in terms.values())
        """Whether weights change in the course of a search."""

    def cost(self, latents: Tensor, actions: Tensor, goal: Tensor, progress: float = 1.0) -> Tensor:
        """Costs `[N]` of imagined latents `[N, T+1, M, ...]` and actions `[N, T, A]`, for goals `[N, M, ...]`.

        Args:
            latents: imagined latents.
            actions: the actions that they follow from.
            goal: latents of the goals.
            progress: the share of the search's budget that is spent; it matters where weights change.
        """
        total = 0.0
        for term in self.terms.values():
            if term.weight > 0:
                share = term.initial_share + (1 - term.initial_share) * progress
                total = total + term.weight * share * term(latents, actions, goal)
        return total

    def calibrated(self, world_model: WorldModel, held_out: Trajectories) -> "Objective":
        """The objective with weights that suit a world model, where they are to be chosen automatically.

        Args:
            world_model: the model that plans will be made with.
            held_out: trajectories that it was not trained on, as long as the plans.
        """
        return Objective({name: term.calibrated(world_model, held_out) for name, term in self.terms.items()})

    def require(self, world_model: WorldModel) -> None:
        """Raises `UserError` if the objective asks for what the model does not have."""
        if self.weight("disagreement") and world_model.members == 1:
            raise UserError(
                "The objective prices the disagreement of an ensemble, but the model has a single member; choose "
                "objective=goal, or model=ensemble."
            )

    def weight(self, name: str) -> float:
        """The weight of the term of that name; 0 if there is none."""
        return self.terms[name].weight if name in self.terms else 0.0

    def without(self, name: str) -> "Objective":
        """The same objective without the term of that name."""
        return Objective({other: term for other, term in self.terms.items() if other != name})

    def goal_alone(self) -> "Objective":
        """The same objective without any term that does not know the goal."""
        return Objective({name: term for name, term in self.terms.items() if isinstance(term, GoalDistance)})
