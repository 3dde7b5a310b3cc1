"""Mazes of square cells: where one can be, how far it is, which way to go; and what all simulators of mazes do."""

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
        free: which cells are free, bool `[rows, columns]`; those at the border are not.
        size: width of a cell.
        middle: where the middle of the map lies, `[2]`; at the origin by default.
    """

    def __init__(self, free: Tensor, size: float, middle: Tensor | None = None) -> None:
        self.free, self.size, self.middle = free, size, torch.zeros(2) if middle is None else middle
        self.cells = free.nonzero()
        """Row and column of each free cell, `[C, 2]`."""
        self.half_extent = size / 2 * torch.tensor([free.shape[1], free.shape[0]])
        """Half the width and height of the map, `[2]`."""
        self.number = torch.full(free.shape, -1).masked_scatter(free, torch.arange(len(self.cells)))
        """The free cells' numbers in `cells`, `[rows, columns]`; -1 elsewhere."""
        neighbours = (self.cells[:, None] - self.cells).abs().sum(-1) == 1
        steps, before = shortest_path(neighbours.numpy(), unweighted=True, return_predecessors=True)
        self.steps = torch.from_numpy(steps)
        """How many steps from cell to cell it is from each free cell to each other, `[C, C]`; infinite for no way."""
        self.next = torch.from_numpy(before.T.copy()).long()
        """The first cell on the shortest way from each to each other, `[C, C]`; negative where there is none to go."""

    def centres(self, cells: Tensor) -> Tensor:
        """Positions `[..., 2]` of the middles of cells, given by number `[...]`."""
        row, column = self.cells[cells].unbind(-1)
        x = (column + 0.5) * self.size - self.half_extent[0]
        y = self.half_extent[1] - (row + 0.5) * self.size
        return self.middle + torch.stack((x, y), -1)

    def cell(self, positions: Tensor) -> Tensor:
        """Numbers `[...]` of the free cells that positions `[..., 2]` are in; -1 elsewhere."""
        x, y = (positions.detach().cpu() - self.middle).unbind(-1)
        column = ((x + self.half_extent[0]) / self.size).floor().long()
        row = ((self.half_extent[1] - y) / self.size).floor().long()
        rows, columns = self.free.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        number = self.number[row.clamp(0, rows - 1), column.clamp(0, columns - 1)]
        return torch.where(inside, number, -1)

    def pairs(self, least: int, most: int | None) -> Tensor:
        """All pairs of free cells with at least, and at most, so many steps between them: numbers `[P, 2]`.

        Raises:
            UserError: there is none.
        """
        farthest = int(self.steps[self.steps.isfinite()].max())
        pairs = ((self.steps >= least) & (self.steps <= (most or farthest))).nonzero()
        if not len(pairs):
            raise UserError(
                f"No two cells of the maze are {least} to {most or 'any number of'} steps apart; the farthest are "
                f"{farthest}: choose another min_distance or max_distance."
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
    """A body in a maze, with its position first in the state; where that is, decides whether a goal is reached.

    Args:
        maze: the map.
        min_distance: tasks lead at least so many cells through it.
        max_distance: and at most so many; none for no limit.
        engine: as in `EngineSimulator`; its attribute `maze` is the map's name.
        frameskip: as in `EngineSimulator`.
        action_block: as in `EngineSimulator`.

    Attributes:
        position_noise: how far starts and goals are from the middle of their cells at most, in each direction.
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
        limits[:2] = maze.half_extent
        middle = torch.zeros(self.state_dim)
        middle[:2] = maze.middle
        self.state_low, self.state_high = middle - limits, middle + limits
        self.goal_weights = (torch.arange(self.state_dim) < 2).float()

    @abstractmethod
    def at_rest(self, positions: Tensor) -> Tensor:
        """States `[..., S]` at rest at positions `[..., 2]`."""

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """From rest in one cell to rest in another; all pairs of cells that are far enough apart are equally likely."""
        cells = self.pairs[torch.randint(len(self.pairs), (n,), generator=generator)]
        noise = self.position_noise * (2 * torch.rand(n, 2, 2, generator=generator) - 1)
        return Tasks(*self.at_rest(self.maze.centres(cells) + noise).unbind(1))

    def waypoint(self, state: Tensor, goal: Tensor) -> Tensor:
        """Where to go, `[N, 2]`: from states `[N, S]` to the middle of the next cell on the way to goals `[N, S]`.

        In the goal's cell it is the goal.
        """
        here, there = (self.maze.cell(self.position(x)) for x in (state, goal))
        following = self.maze.next[here, there]
        middles = self.maze.centres(following.clamp(min=0)).to(state)
        return torch.where((following >= 0)[:, None].to(state.device), middles, self.position(goal))

    def validate_states(self, states: Tensor, what: str) -> None:
        if states.dim() != 2 or states.shape[1] != self.state_dim:
            raise UserError(f"{what} has shape {list(states.shape)}; expected [N, {self.state_dim}], position first.")
        wrong = ~(states.isfinite().all(-1) & self.possible(states))
        if wrong.any():
            x, y = states[wrong.nonzero()[0, 0], :2].tolist()
            middles = self.maze.centres(torch.arange(len(self.maze.cells))).tolist()
            raise UserError(
                f"{what} ({x:g}, {y:g}) is not in a free cell of the maze; these have their middles at "
                + ", ".join(f"({x:g}, {y:g})" for x, y in middles)
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
