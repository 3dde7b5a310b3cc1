"""Mazes of square cells: their geometry and shortest paths, and the base class of simulators in mazes."""

from abc import abstractmethod

import torch
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from gapclose.engines.engine import Engine
from gapclose.envs.engine_simulator import EngineSimulator
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError


class Maze:
    """A map of free and filled cells; its first row is at the top.

    Args:
        free: which cells are free, bool `[rows, columns]`; cells at the border must be filled.
        size: width of a cell.
        middle: position of the middle of the map, `[2]`; the origin by default.
    """

    def __init__(self, free: Tensor, size: float, middle: Tensor | None = None) -> None:
        self.free, self.size, self.middle = free, size, torch.zeros(2) if middle is None else middle
        self.cells = free.nonzero()
        """Row and column of each free cell, `[C, 2]`."""
        self.half_size = size / 2 * torch.tensor([free.shape[1], free.shape[0]])
        """Half the width and height of the map, `[2]`."""
        self.number = torch.full(free.shape, -1).masked_scatter(free, torch.arange(len(self.cells)))
        """Index in `cells` of each free cell, `[rows, columns]`; -1 for filled cells."""
        neighbours = (self.cells[:, None] - self.cells).abs().sum(-1) == 1
        steps, predecessors = shortest_path(neighbours.numpy(), unweighted=True, return_predecessors=True)
        self.steps = torch.from_numpy(steps)
        """Length of the shortest path from each free cell to each other, in cells, `[C, C]`; infinite if none."""
        self.next = torch.from_numpy(predecessors.T.copy()).long()
        """Next cell on the shortest path from each free cell to each other, `[C, C]`; negative if there is none."""

    def centres(self, cells: Tensor) -> Tensor:
        """Positions `[..., 2]` of the centres of cells, given by index `[...]`."""
        row, column = self.cells[cells].unbind(-1)
        x = (column + 0.5) * self.size - self.half_size[0]
        y = self.half_size[1] - (row + 0.5) * self.size
        return self.middle + torch.stack((x, y), -1)

    def cell(self, positions: Tensor) -> Tensor:
        """Indices `[...]` of the free cells that positions `[..., 2]` are in; -1 elsewhere."""
        x, y = (positions.detach().cpu() - self.middle).unbind(-1)
        column = ((x + self.half_size[0]) / self.size).floor().long()
        row = ((self.half_size[1] - y) / self.size).floor().long()
        rows, columns = self.free.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        number = self.number[row.clamp(0, rows - 1), column.clamp(0, columns - 1)]
        return torch.where(inside, number, -1)

    def pairs(self, min_distance: int, max_distance: int | None) -> Tensor:
        """Returns the indices `[P, 2]` of all pairs of free cells whose distance in cells is within these bounds.

        Raises:
            UserError: there is no such pair.
        """
        longest = int(self.steps[self.steps.isfinite()].max())
        pairs = ((self.steps >= min_distance) & (self.steps <= (max_distance or longest))).nonzero()
        if not len(pairs):
            raise UserError(
                f"No two cells of the maze are {min_distance} to {max_distance or 'any number of'} steps apart, and "
                f"the largest distance is {longest}; choose another min_distance or max_distance."
            )
        return pairs

    def outline(self) -> Tensor:
        """The line segments `[K, 2, 2]` between free and filled cells."""
        corners = self.size / 2 * torch.tensor([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
        segments = []
        for cell, centre in zip(self.cells.tolist(), self.centres(torch.arange(len(self.cells)))):
            for side, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
                if not self.free[cell[0] + down, cell[1] + right]:
                    segments.append(centre + corners[[side, (side + 1) % 4]])
        return torch.stack(segments)


class MazeSimulator(EngineSimulator):
    """The base class for bodies in a maze.

    The first two coordinates of a state are the body's position; it alone decides whether a goal is reached.

    Args:
        maze: the map.
        min_distance: least distance from start to goal through the maze, in cells.
        max_distance: largest such distance; `None` means no limit.
        engine: as in `EngineSimulator`; its attribute `maze` is the map's name.
        frameskip: as in `EngineSimulator`.
        action_block: as in `EngineSimulator`.

    Attributes:
        position_noise: largest offset of starts and goals from the centre of their cell, along each axis.
    """

    position_noise: float
    success_radius: float

    def __init__(
        self,
        maze: Maze,
        min_distance: int,
        max_distance: int | None,
        engine: Engine,
        frameskip: int,
        action_block: int,
    ) -> None:
        super().__init__(engine, frameskip, action_block)
        self.settings = dict(
            maze=engine.maze,
            frameskip=frameskip,
            action_block=action_block,
            min_distance=min_distance,
            max_distance=max_distance,
        )
        self.maze, self.pairs = maze, maze.pairs(min_distance, max_distance)
        self.action_low, self.action_high = torch.tensor([[-1.0], [1.0]]).expand(2, self.action_dim)
        limits = torch.full((self.state_dim,), torch.inf)
        limits[:2] = maze.half_size
        middle = torch.zeros(self.state_dim)
        middle[:2] = maze.middle
        self.state_low, self.state_high = middle - limits, middle + limits
        self.goal_weights = (torch.arange(self.state_dim) < 2).float()

    @abstractmethod
    def at_rest(self, positions: Tensor) -> Tensor:
        """States `[..., S]` at rest at positions `[..., 2]`."""

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """Draws tasks from rest to rest, uniformly over all pairs of cells within the distance bounds."""
        cells = self.pairs[torch.randint(len(self.pairs), (n,), generator=generator)]
        noise = self.position_noise * (2 * torch.rand(n, 2, 2, generator=generator) - 1)
        return Tasks(*self.at_rest(self.maze.centres(cells) + noise).unbind(1))

    def waypoint(self, state: Tensor, goal: Tensor) -> Tensor:
        """Returns the waypoint `[N, 2]` of states `[N, S]`: the centre of the next cell on the path to goals `[N, S]`.

        In the goal's cell, it is the goal itself.
        """
        here, there = (self.maze.cell(self.position(x)) for x in (state, goal))
        next_cell = self.maze.next[here, there]
        centres = self.maze.centres(next_cell.clamp(min=0)).to(state)
        return torch.where((next_cell >= 0)[:, None].to(state.device), centres, self.position(goal))

    def validate_states(self, states: Tensor, what: str) -> None:
        if states.dim() != 2 or states.shape[1] != self.state_dim:
            raise UserError(f"{what} has shape {list(states.shape)}; expected [N, {self.state_dim}], position first.")
        wrong = ~(states.isfinite().all(-1) & self.possible(states))
        if wrong.any():
            x, y = states[wrong.nonzero()[0, 0], :2].tolist()
            centres = self.maze.centres(torch.arange(len(self.maze.cells))).tolist()
            raise UserError(
                f"{what} ({x:g}, {y:g}) is not in a free cell of the maze; the free cells have their centres at "
                + ", ".join(f"({x:g}, {y:g})" for x, y in centres)
                + "."
            )

    def possible(self, states: Tensor) -> Tensor:
        return (self.maze.cell(self.position(states)) >= 0).to(states.device)

    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        return self.position(state - goal).norm(dim=-1)

    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        return self.distance(state, goal) <= self.success_radius

    def position(self, state: Tensor) -> Tensor:
        return state[..., :2]

    def outline(self) -> Tensor:
        return self.maze.outline()
