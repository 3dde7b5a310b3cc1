"""PointMaze: a ball in a maze, pushed by forces."""

from typing import Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.point_maze import PointMazeEngine, environment
from gapclose.envs.maze import Maze, MazeSimulator
from gapclose.setting_types import EngineSteps


class PointMaze(MazeSimulator):
    """The PointMaze of gymnasium-robotics (Fu et al. 2020, D4RL, arXiv 2004.07219), simulated by MuJoCo.

    A state is position and velocity, `[x, y, vx, vy]`, in metres and seconds. An action is a force along each axis, in
    [-1, 1]. An engine step takes 0.01 s. The noise of starts and goals and the success radius are those of
    gymnasium-robotics.

    Args:
        maze: name of the map.
        frameskip: engine steps per step.
        action_block: actions per step, each held for an equal share of it.
        min_distance: least distance from start to goal through the maze, in cells.
        max_distance: largest such distance; `None` means no limit.

    Raises:
        UserError: gymnasium-robotics is not installed, no two cells are that far apart, or `frameskip` is not a
            multiple of `action_block`.
    """

    name = "point_maze"
    state_dim = 4
    success_radius = 0.45
    position_noise = 0.25
    acceleration, seconds = 24.0, 0.01
    """Acceleration of the ball under a force of 1, in m/s², and duration of an engine step, in s."""

    @validate_call
    def __init__(
        self,
        maze: Literal["umaze", "medium", "large"] = "medium",
        frameskip: EngineSteps = 10,
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
        """Goes from cell centre to cell centre on the shortest path, and slows down at the goal."""
        position, velocity = state.split(2, -1)
        hold = self.hold * self.seconds
        target_velocity = ((self.waypoint(state, goal) - position) / max(0.25, 2 * hold)).clamp(-3, 3)
        force = (target_velocity - velocity) / (self.acceleration * max(hold, 5 * self.seconds))
        return force.clamp(-1, 1).repeat(1, self.action_block)
