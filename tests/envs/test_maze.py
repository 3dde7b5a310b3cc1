import pytest
import torch

from gapclose.envs.maze import Maze
from gapclose.errors import UserError

MAP = """
#######
#..#..#
#.###.#
#.....#
###.###
#######
"""


@pytest.fixture
def maze():
    return Maze(torch.tensor([[cell == "." for cell in row] for row in MAP.split()]), size=2.0)


def test_positions_and_cells_are_inverse(maze):
    numbers = torch.arange(len(maze.cells))
    assert (maze.cell(maze.centres(numbers)) == numbers).all()
    corners = maze.centres(numbers) + 0.99 * torch.tensor([[1.0, -1.0]])
    assert (maze.cell(corners) == numbers).all()


def test_the_first_row_is_at_the_top_and_the_origin_in_the_middle(maze):
    assert maze.centres(torch.tensor([0])).tolist() == [[-4.0, 3.0]]
    assert maze.half_size.tolist() == [7.0, 6.0]


def test_filled_cells_and_the_outside_have_no_index(maze):
    assert (maze.cell(torch.tensor([[0.0, 3.0], [-6.5, 0.0], [99.0, 0.0], [0.0, -99.0]])) == -1).all()


def test_the_shortest_path_goes_through_free_neighbours_and_has_the_stated_length(maze):
    start, goal = 0, 3  # Both ends of the top row, with a wall between them.
    assert maze.steps[start, goal] == 8
    here, way = start, []
    while here != goal:
        following = maze.next[here, goal].item()
        assert (maze.cells[here] - maze.cells[following]).abs().sum() == 1
        here = following
        way.append(here)
    assert len(way) == 8
    assert (maze.next.diagonal() < 0).all()


def test_pairs_are_within_the_distance_bounds(maze):
    for least, most in ((1, None), (3, 5), (9, 9)):
        pairs = maze.pairs(least, most)
        steps = maze.steps[*pairs.unbind(1)]
        assert (steps >= least).all()
        assert most is None or (steps <= most).all()
    assert len(maze.pairs(1, None)) == len(maze.cells) * (len(maze.cells) - 1)
    with pytest.raises(UserError, match="11 to any number of steps apart, and the largest distance is 10"):
        maze.pairs(11, None)


def test_the_outline_encloses_the_free_cells(maze):
    outline = maze.outline()
    lengths = (outline[:, 0] - outline[:, 1]).norm(dim=-1)
    assert lengths.tolist() == [2.0] * len(outline)
    middles = outline.mean(1)
    directions = (outline[:, 1] - outline[:, 0]).flip(-1) * torch.tensor([1.0, -1.0])
    sides = torch.stack((maze.cell(middles + 0.1 * directions), maze.cell(middles - 0.1 * directions)))
    assert ((sides < 0).sum(0) == 1).all()
    free = len(maze.cells)
    neighbours = (maze.steps == 1).sum().item()
    assert len(outline) == 4 * free - neighbours
