"""The engine of AntMaze (OGBench): a quadruped in a maze."""

from dataclasses import dataclass
from typing import ClassVar

from gapclose.engines.engine import optional_import
from gapclose.engines.mujoco_engine import MujocoEngine, discard_temporary_files


@dataclass(frozen=True)
class AntMazeEngine(MujocoEngine):
    """The MuJoCo model of OGBench.

    Args:
        maze: name of the map: `arena`, `medium`, `large` or `giant`.
    """

    maze: str
    action_dim: ClassVar[int] = 8

    def model(self):
        return environment(self.maze).model


def environment(maze: str):
    """Returns OGBench's environment with this map.

    Raises:
        UserError: OGBench is not installed.
    """
    with optional_import("AntMaze", "ogbench"):
        from ogbench.locomaze.maze import make_maze_env
    with discard_temporary_files():
        return make_maze_env("ant", "maze", maze_type=maze)
