"""PointMaze: a ball in a maze, pushed by forces."""

from typing import Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.point_maze import PointMazeEngine, environment
from gapclose.envs.engine_simulator import EngineSimulator
from gapclose.envs.maze import Maze
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError


class PointMaze(EngineSimulator):
    """The PointMaze of gymnasium-robotics (Fu et al. 2020, D4RL, arXiv 2004.07219), simulated by MuJoCo.

    A state is position and velocity, `[x, y, vx, vy]`, in metres and seconds; an action is a force in each direction,
    in [-1, 1]. A step of the engine takes 0.01 s.

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
    """As in the library."""
    position_noise = 0.25
    """Starts and goals are so far from the middle of their cells at most, as in the library."""
    acceleration, seconds = 24.0, 0.01
    """Of a ball that a force of 1 pushes, in m/s²; and of a step of the engine."""
    goal_weights = torch.tensor([1.0, 1.0, 0.0, 0.0])

    @validate_call
    def __init__(
        self,
        maze: Literal["umaze", "medium", "large"] = "medium",
        frameskip: PositiveInt = 10,
        action_block: PositiveInt = 1,
        min_distance: PositiveInt = 3,
        max_distance: PositiveInt | None = None,
    ) -> None:
        super().__init__(PointMazeEngine(maze), frameskip, action_block)
        self.settings = dict(
            maze=maze,
            frameskip=frameskip,
            action_block=action_block,
            min_distance=min_distance,
            max_distance=max_distance,
        )
        library = environment(maze).maze
        self.maze = Maze(
            torch.tensor([[cell != 1 for cell in row] for row in library.maze_map]), library.maze_size_scaling
        )
        self.pairs = self.maze.pairs(min_distance, max_distance)
        self.action_low, self.action_high = torch.full((2, self.action_dim), 1.0).mul_(torch.tensor([[-1.0], [1.0]]))
        limits = torch.cat((self.maze.half_extent, torch.full((2,), torch.inf)))
        self.state_low, self.state_high = -limits, limits

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """From rest in one cell to rest in another; all pairs of cells that are far enough apart are equally likely."""
        cells = self.pairs[torch.randint(len(self.pairs), (n,), generator=generator)]
        noise = self.position_noise * (2 * torch.rand(n, 2, 2, generator=generator) - 1)
        positions = self.maze.centres(cells) + noise
        return Tasks(*torch.cat((positions, torch.zeros_like(positions)), -1).unbind(1))

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """From the middle of one cell to the next on the shortest way, slowing down at the goal."""
        position, velocity = state.cpu().split(2, -1)
        target = goal.cpu()[:, :2]
        here, there = self.maze.cell(position), self.maze.cell(target)
        following = self.maze.next[here, there]
        waypoint = torch.where((following >= 0)[:, None], self.maze.centres(following.clamp(min=0)), target)
        hold = self.hold * self.seconds
        wanted = ((waypoint - position) / max(0.25, 2 * hold)).clamp(-3, 3)
        force = (wanted - velocity) / (self.acceleration * max(hold, 5 * self.seconds))
        return force.clamp(-1, 1).repeat(1, self.action_block).to(state)

    def validate_states(self, states: Tensor, what: str) -> None:
        if states.dim() != 2 or states.shape[1] != self.state_dim:
            raise UserError(f"{what} has shape {list(states.shape)}; expected [N, 4] (x, y and their velocities).")
        wrong = ~(states.isfinite().all(-1) & self.possible(states))
        if wrong.any():
            x, y = states[wrong.nonzero()[0, 0], :2].tolist()
            raise UserError(
                f"{what} ({x:g}, {y:g}) is not in a free cell of the maze; these have their middles at "
                + ", ".join(
                    f"({x:g}, {y:g})" for x, y in self.maze.centres(torch.arange(len(self.maze.cells))).tolist()
                )
                + "."
            )

    def possible(self, states: Tensor) -> Tensor:
        return (self.maze.cell(states[..., :2]) >= 0).to(states.device)

    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        return (state - goal)[..., :2].norm(dim=-1)

    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        return self.distance(state, goal) <= self.success_radius

    def position(self, state: Tensor) -> Tensor:
        return state[..., :2]

    def outline(self) -> Tensor:
        return self.maze.outline()
