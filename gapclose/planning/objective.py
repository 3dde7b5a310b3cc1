"""What a plan is judged by: a weighted sum of named terms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from pydantic import validate_call
from torch import Tensor, nn

from gapclose.errors import UserError
from gapclose.settings import NonNegative


class Term(nn.Module, ABC):
    """One summand of an objective.

    Args:
        weight: what its cost is multiplied with.
    """

    @validate_call
    def __init__(self, weight: NonNegative = 1.0) -> None:
        super().__init__()
        self.weight = weight

    @abstractmethod
    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        """Unweighted costs `[N]`; the arguments are those of `Objective.cost`."""


class GoalDistance(Term):
    """Mean squared distance of the latents to the goal's, over coordinates and members.

    Args:
        at: `last` looks at the last step, `all` averages over all steps, `nearest` takes the nearest step.
        weight: as in `Term`.
    """

    @validate_call
    def __init__(self, at: Literal["last", "all", "nearest"] = "last", weight: NonNegative = 1.0) -> None:
        super().__init__(weight)
        self.at = at

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        steps = latents[:, -1:] if self.at == "last" else latents[:, 1:]
        squared = (steps - goal.unsqueeze(1)).square().flatten(2).mean(2)
        return squared.amin(1) if self.at == "nearest" else squared.mean(1)


class Disagreement(Term):
    """Variance between the ensemble's members, averaged over coordinates and summed over steps; 0 for one member."""

    def forward(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        return latents.var(2, correction=0).flatten(2).mean(2).sum(1)


class Objective(nn.Module):
    """The sum of its terms.

    Args:
        terms: the terms by name.

    Raises:
        UserError: no term but that of disagreement has a positive weight.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        if not any(term.weight > 0 for name, term in terms.items() if name != "disagreement"):
            raise UserError(
                f"No term of the objective ({', '.join(terms)}) says where to go; give the goal's a positive weight."
            )
        self.terms = nn.ModuleDict(terms)

    def cost(self, latents: Tensor, actions: Tensor, goal: Tensor) -> Tensor:
        """Costs `[N]` of imagined latents `[N, T+1, M, ...]` and actions `[N, T, A]`, for goals `[N, M, ...]`."""
        return sum(term.weight * term(latents, actions, goal) for term in self.terms.values() if term.weight > 0)

    def weight(self, name: str) -> float:
        """The weight of the term of that name; 0 if there is none."""
        return self.terms[name].weight if name in self.terms else 0.0

    def without(self, name: str) -> "Objective":
        """The same objective without the term of that name."""
        return Objective({other: term for other, term in self.terms.items() if other != name})
