"""Where are the errors? Single steps of the model against the simulator, over the arena and along plans."""

from typing import Any, NamedTuple, Self

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.envs.simulator import Simulator
from gapclose.evaluation.statistics import estimate
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution

AT_ONCE = 8192
"""Batch size of predictions."""


class Step(NamedTuple):
    """Error and disagreement of single steps.

    Attributes:
        error: squared errors `[...]` of the predicted next states, averaged over coordinates, in the simulator's units.
        disagreement: variance of the members' next latents, averaged over coordinates, `[...]`.
    """

    error: Tensor
    disagreement: Tensor


@torch.no_grad()
def single_steps(world_model: WorldModel, simulator: Simulator, states: Tensor, actions: Tensor) -> Step:
    """Predicts and simulates one step from each of the states `[..., S]` with the actions `[..., A]`."""
    parts = []
    for state, action in zip(states.flatten(0, -2).split(AT_ONCE), actions.flatten(0, -2).split(AT_ONCE)):
        latent = world_model.step(world_model.encode(simulator.observe(state)), action)
        error = (world_model.decode(latent) - simulator.step(state, action)).square().mean(-1)
        parts.append((error, latent.var(1, correction=0).flatten(1).mean(1)))
    return Step(*(torch.cat(x).view(states.shape[:-1]) for x in zip(*parts)))


class Grid(NamedTuple):
    """Square cells that cover the states of a simulator whose state is a position in the plane.

    Attributes:
        simulator: the simulator whose states they cover.
        edges: of the cells along x and along y, `[2, G+1]`.
        possible: whether the state in the middle of a cell is possible, bool `[G, G]`: rows along y, columns along x.
    """

    simulator: Simulator
    edges: Tensor
    possible: Tensor

    @classmethod
    def over(cls, simulator: Simulator, cells: int) -> Self | None:
        """The grid with this number of cells along each axis; none for a simulator whose state is not a position."""
        middle = (simulator.state_low + simulator.state_high) / 2
        if simulator.state_dim != 2 or not middle.isfinite().all() or not simulator.position(middle).equal(middle):
            return None
        share = torch.linspace(0, 1, cells + 1)
        edges = torch.lerp(simulator.state_low[:, None], simulator.state_high[:, None], share)
        grid = cls(simulator, edges, torch.empty(0))
        return grid._replace(possible=simulator.possible(grid.centres()))

    def centres(self) -> Tensor:
        """The states in the middle of all cells, `[G, G, 2]`."""
        x, y = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1)

    def counts(self, states: Tensor) -> Tensor:
        """Counts the states `[..., 2]` in each cell, `[G, G]`."""
        return torch.bincount(self.cells(states).flatten(), minlength=self.possible.numel()).view(self.possible.shape)

    def cells(self, states: Tensor) -> Tensor:
        """The numbers `[...]` of the cells that contain states `[..., 2]`, row by row; outside, of the nearest cell.

        A possible state in a cell whose middle is impossible (it touches a wall) counts in the nearest possible cell.
        """
        states = states.cpu()
        column, row = (torch.bucketize(states[..., i].contiguous(), self.edges[i, 1:-1], right=True) for i in (0, 1))
        numbers = row * self.possible.shape[1] + column
        misplaced = self.simulator.possible(states) & ~self.possible.flatten()[numbers]
        middles, candidates = self.centres().flatten(0, 1), self.possible.flatten().nonzero().squeeze(1)
        if misplaced.any() and len(candidates):
            numbers[misplaced] = candidates[torch.cdist(states[misplaced], middles[candidates]).argmin(1)]
        return numbers


class ErrorMaps:
    """Measures the error of single steps over the arena, and along plans.

    Args:
        cells: of the map along each axis.
        actions_per_cell: random actions from the middle of each cell.
    """

    @validate_call
    def __init__(self, cells: PositiveInt = 40, actions_per_cell: PositiveInt = 16) -> None:
        self.cells, self.actions_per_cell = cells, actions_per_cell

    def over_arena(
        self, world_model: WorldModel, simulator: Simulator, grid: Grid, device: torch.device, random: torch.Generator
    ) -> Step:
        """Averages over random actions from the middle of each cell, `[G, G]`; NaN where that state is impossible."""
        low, high = simulator.action_low, simulator.action_high
        share = torch.rand(*grid.possible.shape, self.actions_per_cell, len(low), generator=random)
        states = grid.centres().unsqueeze(2).expand(*share.shape[:-1], 2)
        steps = single_steps(world_model, simulator, states.to(device), torch.lerp(low, high, share).to(device))
        return Step(*(x.cpu().mean(2).where(grid.possible, torch.nan) for x in steps))


def along_plans(world_model: WorldModel, simulator: Simulator, execution: Execution) -> dict[str, Step]:
    """Evaluates single steps `[N, L]` from the `real` and the `imagined` states of executed plans.

    NaN marks imagined states that are impossible in the simulator.
    """
    states = {"real": execution.states[:, :-1], "imagined": execution.imagined[:, :-1]}
    steps = {name: single_steps(world_model, simulator, x, execution.actions) for name, x in states.items()}
    possible = simulator.possible(states["imagined"])
    steps["imagined"] = Step(*(x.where(possible, torch.nan) for x in steps["imagined"]))
    return steps


def error_metrics(
    arena: Step | None,
    plans: dict[str, Step],
    execution: Execution,
    simulator: Simulator,
    grid: Grid | None,
    training_states: Tensor,
) -> dict[str, Any]:
    """Summarises the errors of single steps (MSE in the simulator's units).

    Args:
        arena: errors over the arena, if there is a grid.
        plans: errors at the `real` and the `imagined` states of plans.
        execution: of these plans.
        simulator: the world.
        grid: of the arena; none if a state is not a position.
        training_states: the states that the model was trained on, `[L, S]`.

    Returns:
        `real` and `imagined`: at the states of executed plans; `impossible`: the share of imagined states that are
        impossible in the simulator; and, with a grid, `arena`: mean and median over its cells, `unvisited_real` and
        `unvisited_imagined`: the share of the plans' states in cells without training data.
    """
    imagined = execution.imagined[:, 1:]
    metrics: dict[str, Any] = {name: estimate(step.error.nanmean(1)) for name, step in plans.items()}
    metrics["impossible"] = estimate((~simulator.possible(imagined)).double().mean(1))
    if grid:
        errors = arena.error[grid.possible]
        metrics["arena"] = {"mean": errors.mean().item(), "median": errors.median().item()}
        unvisited = (grid.counts(training_states) == 0).flatten()
        for name, states in (("real", execution.states[:, 1:]), ("imagined", imagined)):
            metrics[f"unvisited_{name}"] = estimate(unvisited[grid.cells(states)].double().mean(1))
    return metrics
