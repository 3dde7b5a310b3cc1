"""PointMaze: a ball in a maze, pushed by forces."""

from typing import Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.point_maze import PointMazeEngine, environment
from gapclose.envs.maze import Maze, MazeSimulator


class PointMaze(MazeSimulator):
    """The PointMaze of gymnasium-robotics (Fu et al. 2020, D4RL, arXiv 2004.07219), simulated by MuJoCo.

    A state is position and velocity, `[x, y, vx, vy]`, in metres and seconds; an action is a force in each direction,
    in [-1, 1]. A step of the engine takes 0.01 s. Noise and the radius of success are the library's.

    Args:
        maze: the map.
        frameskip: steps of the engine in one step.
        action_block: how many actions there are in a step, each held for an equal share of it.
        min_distance: tasks lead at least so many cells through the maze.
        max_distance: and at most so many; none for no limit.

    Raises:
        UserError: gymnasium-robotics is not installed, no two cells are that far apart, or the frameskip is no multiple
            of the action block.
    """

    name = "point_maze"
    state_dim = 4
    success_radius = 0.45
    position_noise = 0.25
    acceleration, seconds = 24.0, 0.01
    """Of a ball that a force of 1 pushes, in m/s²; and of a step of the engine."""

    @validate_call
    def __init__(
        self,
        maze: Literal["umaze", "medium", "large"] = "medium",
        frameskip: PositiveInt = 10,
        action_block: PositiveInt = 1,
        min_distance: PositiveInt = 3,
        max_distance: PositiveInt | None = None,
    ) -> None:
        library = environment(maze).maze
        free = torch.tensor([[cell != 1 for cell in row] for row in library.maze_map])
        super().__init__(
            Maze(free, library.maze_size_scaling),
            min_distance,
            max_distance,
            PointMazeEngine(maze),
            frameskip,
            action_block,
        )

    def at_rest(self, positions: Tensor) -> Tensor:
        return torch.cat((positions, torch.zeros_like(positions)), -1)

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """From the middle of one cell to the next on the shortest way, slowing down at the goal."""
        position, velocity = state.split(2, -1)
        hold = self.hold * self.seconds
        wanted = ((self.waypoint(state, goal) - position) / max(0.25, 2 * hold)).clamp(-3, 3)
        force = (wanted - velocity) / (self.acceleration * max(hold, 5 * self.seconds))
        return force.clamp(-1, 1).repeat(1, self.action_block)
