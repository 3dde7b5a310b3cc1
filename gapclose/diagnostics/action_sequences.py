"""Where in the space of action sequences a model's cost is looked at. All actions here are normalised."""

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
"""How many sequences `init` draws for tasks to share."""


class TracedSearch(Search):
    """A search that remembers which sequences it was asked to judge."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.judged: list[Tensor] = []

    def score(self, candidates: Tensor) -> Tensor:
        self.judged.append(candidates.clone())
        return super().score(candidates)

    def gradient(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        self.judged.append(candidates.clone())
        return super().gradient(candidates)


class Path(NamedTuple):
    """The way that a descent took.

    Attributes:
        actions: sequences `[N, I+1, T, A]`, from the first to the last.
        gradients: of the cost at all but the last, `[N, I, T, A]`, with the weights at the end of a search.
    """

    actions: Tensor
    gradients: Tensor


class Landscape(NamedTuple):
    """The cost that a planner would minimise: a world model, an objective, and tasks in a simulator."""

    world_model: WorldModel
    objective: Objective
    simulator: Simulator
    tasks: Tasks
    steps: int

    def search(
        self, kind: type[Search] = Search, budget: Budget | None = None, random: torch.Generator | None = None
    ) -> Search:
        """What gives costs and gradients of normalised sequences; the weights are those at the end of a search."""
        with torch.no_grad():
            start, goal = (self.world_model.encode(self.simulator.observe(states)) for states in self.tasks)
        bounds = Bounds(self.simulator.action_low, self.simulator.action_high)
        search = kind(self.world_model, self.objective, start, goal, self.steps, bounds, budget or Budget(0), random)
        search.progress = 1.0
        return search


def uniform_sequences(search: Search, k: int, random: torch.Generator) -> Tensor:
    """Uniform within the bounds, independent for each step and task: `[N, k, T, A]`."""
    return 2 * torch.rand(search.shape(k), generator=random).to(search.best) - 1


def initial_sequences(search: Search, init: Init, k: int) -> Tensor:
    """What a planner starts from, `[N, k, T, A]`: each task takes `k` of a pool of draws that tasks share.

    In a planner's search all tasks have the same draws; means over tasks would hang on a few of them.
    """
    drawn = init.draw(search, max(POOL, k)).clamp(-1, 1)
    n, pool = drawn.shape[:2]
    tasks, numbers = torch.arange(n, device=drawn.device), torch.arange(k, device=drawn.device)
    return select(drawn, (tasks[:, None] * k + numbers) % pool)


def descend(planner: GradientPlanner, landscape: Landscape, starts: Tensor, random: torch.Generator) -> Tensor:
    """The sequences `[N, I+1, T, A]` that a planner's gradient descent takes from one per task, `[N, T, A]`."""
    search = landscape.search(TracedSearch, planner.budget, random)
    planner.descend(search, starts.unsqueeze(1))
    return torch.cat(search.judged, 1)


def path_along(landscape: Landscape, actions: Tensor) -> Path:
    """The path of a descent that took sequences `[N, I+1, T, A]`.

    Where weights change in the course of a search, the gradients that it followed were those of other costs.
    """
    return Path(actions, landscape.search().gradient(actions[:, :-1])[1])


def spread(path: Path, k: int) -> Tensor:
    """`k` sequences `[N, k, T, A]` at even distances in iterations along a path, its last one left out."""
    along = torch.linspace(0, path.gradients.shape[1] - 1, k).round().long().unique()
    return path.actions[:, along]
