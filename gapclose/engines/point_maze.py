"""The engine of PointMaze (gymnasium-robotics): forces push a ball through a maze."""

import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import ClassVar

from gapclose.engines.engine import optional_import
from gapclose.engines.mujoco_engine import MujocoEngine, discard_temporary_files

MAPS = {"umaze": "U_MAZE", "medium": "MEDIUM_MAZE", "large": "LARGE_MAZE"}
"""The names of the maps in gymnasium-robotics, by our names."""


@dataclass(frozen=True)
class PointMazeEngine(MujocoEngine):
    """The MuJoCo model and the speed limit of gymnasium-robotics.

    Args:
        maze: name of the map, a key of `MAPS`.
    """

    maze: str
    action_dim: ClassVar[int] = 2
    speed_limit: ClassVar[float | None] = 5.0

    def model(self):
        return environment(self.maze).model


def environment(maze: str):
    """Returns the environment of gymnasium-robotics with this map.

    Raises:
        UserError: gymnasium-robotics is not installed.
    """
    # On import, the library prints notices about its other environments.
    with optional_import("PointMaze", "mujoco"), open(os.devnull, "w") as sink, redirect_stderr(sink):
        from gymnasium_robotics.envs.maze import maps
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
    with discard_temporary_files():
        return PointMazeEnv(getattr(maps, MAPS[maze]))
