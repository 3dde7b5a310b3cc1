"""The action sequences at which a model's cost is examined: random, initial, along a descent. All are normalised."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gapclose.envs.simulator import Simulator, Tasks
from gapclose.models.world_model import WorldModel
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Init
from gapclose.planning.objective import Objective
from gapclose.planning.search import Bounds, Budget, Search, select

POOL = 64
"""How many sequences `init` draws, which the tasks share."""


class TracedSearch(Search):
    """A search that records the sequences whose cost or gradient it was asked for."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.evaluated: list[Tensor] = []

    def score(self, candidates: Tensor) -> Tensor:
        self.evaluated.append(candidates.clone())
        return super().score(candidates)

    def costs_and_gradients(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluated.append(candidates.clone())
        return super().costs_and_gradients(candidates)


class Path(NamedTuple):
    """The path of a gradient descent.

    Attributes:
        actions: sequences `[N, I+1, T, A]`, from the first to the last.
        gradients: of the cost at all sequences but the last, `[N, I, T, A]`, with the weights at the end of a search.
    """

    actions: Tensor
    gradients: Tensor


class Landscape(NamedTuple):
    """The cost that a planner minimises: a world model, an objective, and tasks in a simulator, over `steps` steps."""

    world_model: WorldModel
    objective: Objective
    simulator: Simulator
    tasks: Tasks
    steps: int

    def search(
        self, kind: type[Search] = Search, budget: Budget | None = None, random: torch.Generator | None = None
    ) -> Search:
        """A search that gives costs and gradients of normalised sequences, with the weights at the end of a search."""
        with torch.no_grad():
            start, goal = (self.world_model.encode(self.simulator.observe(states)) for states in self.tasks)
        bounds = Bounds(self.simulator.action_low, self.simulator.action_high)
        search = kind(self.world_model, self.objective, start, goal, self.steps, bounds, budget or Budget(0), random)
        search.progress = 1.0
        return search


def uniform_sequences(search: Search, k: int, random: torch.Generator) -> Tensor:
    """Draws `k` sequences `[N, k, T, A]`, uniform within the bounds and independent for each step and task."""
    return 2 * torch.rand(search.shape(k), generator=random).to(search.best) - 1


def initial_sequences(search: Search, init: Init, k: int) -> Tensor:
    """Draws initial sequences of a planner, `[N, k, T, A]`: each task takes `k` of a pool that all tasks share.

    In a planner's search all tasks have the same draws; then means over tasks would depend on a few draws.
    """
    drawn = init.draw(search, max(POOL, k)).clamp(-1, 1)
    n, pool = drawn.shape[:2]
    tasks, numbers = torch.arange(n, device=drawn.device), torch.arange(k, device=drawn.device)
    return select(drawn, (tasks[:, None] * k + numbers) % pool)


def descend(planner: GradientPlanner, landscape: Landscape, starts: Tensor, random: torch.Generator) -> Tensor:
    """Runs a planner's gradient descent from one sequence per task, `[N, T, A]`; returns its path `[N, I+1, T, A]`."""
    search = landscape.search(TracedSearch, planner.budget, random)
    planner.descend(search, starts.unsqueeze(1))
    return torch.cat(search.evaluated, 1)


def path_with_gradients(landscape: Landscape, actions: Tensor) -> Path:
    """Adds gradients to the sequences `[N, I+1, T, A]` of a descent.

    If weights change during a search, these are not the gradients that the descent followed.
    """
    return Path(actions, landscape.search().costs_and_gradients(actions[:, :-1])[1])


def subsample(path: Path, k: int) -> Tensor:
    """Selects `k` sequences `[N, k, T, A]` at equal intervals of iterations along a path, without its last one."""
    iterations = torch.linspace(0, path.gradients.shape[1] - 1, k).round().long().unique()
    return path.actions[:, iterations]
