"""Mazes of square cells: where one can be, how far it is, and which way to go."""

import torch
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from gapclose.errors import UserError


class Maze:
    """A map of free and filled cells around the origin; its first row is at the top.

    Args:
        free: which cells are free, bool `[rows, columns]`; those at the border are not.
        size: width of a cell.
    """

    def __init__(self, free: Tensor, size: float) -> None:
        self.free, self.size = free, size
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
        return torch.stack((x, y), -1)

    def cell(self, positions: Tensor) -> Tensor:
        """Numbers `[...]` of the free cells that positions `[..., 2]` are in; -1 elsewhere."""
        x, y = positions.detach().cpu().unbind(-1)
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
        pairs = ((self.steps >= least) & (self.steps <= (most or self.steps[self.steps.isfinite()].max()))).nonzero()
        if not len(pairs):
            raise UserError(
                f"No two cells of the maze are {least} to {most or 'any number of'} steps apart; the farthest are "
                f"{int(self.steps[self.steps.isfinite()].max())}: choose another min_distance or max_distance."
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
