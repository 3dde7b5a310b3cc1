"""PointMaze of gymnasium-robotics: a ball that forces push through a maze."""

import os
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import ClassVar

from gapclose.engines.mujoco_engine import MujocoEngine
from gapclose.errors import UserError

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
    """The library's environment with that map, its file of the model read and gone.

    Raises:
        UserError: the library is not installed.
    """
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # It tells news of other environments.
            from gymnasium_robotics.envs.maze import maps
            from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
    except ModuleNotFoundError as error:
        raise UserError(
            f"PointMaze needs {error.name}, which is not installed; get it by pip install 'gapclose[mujoco]', or in a "
            "checkout by pip install -e '.[mujoco]'."
        ) from error
    # The library writes the model to the folder of temporary files, under a name that is the time, and leaves it there.
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            return PointMazeEnv(getattr(maps, MAPS[maze]))
        finally:
            tempfile.tempdir = usual
