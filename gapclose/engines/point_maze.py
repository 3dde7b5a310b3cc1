"""PointMaze of gymnasium-robotics: a ball that forces push through a maze."""

import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import ClassVar

from gapclose.engines.engine import installed
from gapclose.engines.mujoco_engine import MujocoEngine, temporary_files_gone

MAPS = {"umaze": "U_MAZE", "medium": "MEDIUM_MAZE", "large": "LARGE_MAZE"}
"""The library's maps by our names."""


@dataclass(frozen=True)
class PointMazeEngine(MujocoEngine):
    """The library's model with the library's limit of speed.

    Args:
        maze: one of `MAPS`.
    """

    maze: str
    action_dim: ClassVar[int] = 2
    speed_limit: ClassVar[float | None] = 5.0

    def model(self):
        return environment(self.maze).model


def environment(maze: str):
    """The library's environment with that map.

    Raises:
        UserError: the library is not installed.
    """
    # When it is imported, it tells news of its other environments.
    with installed("PointMaze", "mujoco"), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        from gymnasium_robotics.envs.maze import maps
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
    with temporary_files_gone():
        return PointMazeEnv(getattr(maps, MAPS[maze]))
