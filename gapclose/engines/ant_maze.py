"""AntMaze of OGBench: a quadruped in a maze."""

from dataclasses import dataclass
from typing import ClassVar

from gapclose.engines.engine import installed
from gapclose.engines.mujoco_engine import MujocoEngine, temporary_files_gone


@dataclass(frozen=True)
class AntMazeEngine(MujocoEngine):
    """The library's model.

    Args:
        maze: `arena`, `medium`, `large` or `giant`.
    """

    maze: str
    action_dim: ClassVar[int] = 8

    def model(self):
        return environment(self.maze).model


def environment(maze: str):
    """The library's environment with that map.

    Raises:
        UserError: the library is not installed.
    """
    with installed("AntMaze", "ogbench"):
        from ogbench.locomaze.maze import make_maze_env
    with temporary_files_gone():
        return make_maze_env("ant", "maze", maze_type=maze)
