"""AntMaze: a quadruped in a maze, with torques on its joints."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.ant_maze import AntMazeEngine, environment
from gapclose.envs.maze import Maze, MazeSimulator

LEGS = math.pi * (torch.arange(4) / 2 + 0.25)
"""In which direction each leg points, in radians from the body's front."""
TROT = torch.tensor([1.0, -1.0, 1.0, -1.0])
"""Diagonal legs move together."""
OUTWARD = torch.tensor([1.0, -1.0, -1.0, 1.0])
"""The sign of the ankles' angles, by leg."""
ACTUATED = [3, 0, 1, 2]
"""The legs in the order of the actions: for each its hip and its ankle."""


class AntMaze(MazeSimulator):
    """The AntMaze of OGBench (Park et al. 2025, arXiv 2410.20092), simulated by MuJoCo.

    A state is the position `[x, y, z]` of the body, its orientation (a quaternion), the angles of hip and ankle of four
    legs, and the velocities of all of these, `[29]`, in metres, radians and seconds; an action has the torques on hip
    and ankle of each leg, in [-1, 1]. A step of the engine takes 0.02 s; five make a step of the library. Noise and
    the radius of success are the library's.

    Args:
        maze: the map; `arena` is empty.
        frameskip: steps of the engine in one step.
        action_block: how many actions there are in a step, each held for an equal share of it.
        min_distance: tasks lead at least so many cells, of 4 m, through the maze.
        max_distance: and at most so many; none for no limit.

    Raises:
        UserError: OGBench is not installed, no two cells are that far apart, or the frameskip is no multiple of the
            action block.
    """

    name = "ant_maze"
    state_dim = 29
    success_radius = 0.5
    position_noise = 1.0
    gait: ClassVar[dict[str, float]] = dict(
        swing=0.377,
        frequency=6.7,
        lead=1.07,
        lift=0.26,
        delay=0.43,
        stiffness=2.77,
        damping=0.19,
        ankle=0.84,
    )
    """Of the expert: how far hips swing and ankles lift (radians), how fast (radians per second), how far the torques'
    targets are ahead in the cycle and the ankles ahead of the hips (radians), gains, and the middle of the ankles'
    angles. A search for the longest way in four seconds found them."""

    @validate_call
    def __init__(
        self,
        maze: Literal["arena", "medium", "large", "giant"] = "medium",
        frameskip: PositiveInt = 5,
        action_block: PositiveInt = 1,
        min_distance: PositiveInt = 1,
        max_distance: PositiveInt | None = None,
    ) -> None:
        library = environment(maze)
        # The library's first row is at the bottom, and the cell in its second row and column is at the origin.
        free = torch.from_numpy(library.maze_map == 0).flip(0)
        corners = torch.tensor([library.ij_to_xy(cell) for cell in ((0, 0), (free.shape[0] - 1, free.shape[1] - 1))])
        size = library.ij_to_xy((0, 1))[0] - library.ij_to_xy((0, 0))[0]
        super().__init__(
            Maze(free, size, corners.mean(0)), min_distance, max_distance, AntMazeEngine(maze), frameskip, action_block
        )
        self.pose = torch.from_numpy(library.init_qpos).float()

    def at_rest(self, positions: Tensor) -> Tensor:
        pose = self.pose.expand(*positions.shape[:-1], -1)
        return torch.cat((positions, pose[..., 2:], pose.new_zeros(*pose.shape[:-1], 14)), -1)

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """A trot along the body's axis that points most nearly to the next cell on the shortest way.

        Where the legs are in their cycle is read off the angles and velocities of the hips, so there is no clock.
        """
        gait = self.gait
        hips, ankles, hip_speeds, ankle_speeds = (state[:, first : first + 8 : 2] for first in (7, 8, 21, 22))
        way = self.waypoint(state, goal) - self.position(state)
        bearing = torch.atan2(way[:, 1], way[:, 0]) - heading(state[:, 3:7])
        axis = (bearing / (math.pi / 2)).round() * (math.pi / 2)
        # Feet on the ground move against the body's way: how far each hip has to swing, forward being positive.
        amplitude = math.sqrt(2) * (LEGS - axis[:, None]).sin() * TROT
        share = amplitude / (gait["swing"] * amplitude.square().sum(1, keepdim=True))
        sine, cosine = (share * hips).sum(1), (share * hip_speeds).sum(1) / gait["frequency"]
        phase = (torch.atan2(sine, cosine) + gait["lead"])[:, None]
        hip_targets = gait["swing"] * amplitude * phase.sin()
        ankle_targets = OUTWARD * (gait["ankle"] + gait["lift"] * TROT * (phase + gait["delay"]).sin())
        torques = [
            gait["stiffness"] * (target - angle) - gait["damping"] * speed
            for target, angle, speed in ((hip_targets, hips, hip_speeds), (ankle_targets, ankles, ankle_speeds))
        ]
        action = torch.stack(torques, -1)[:, ACTUATED].flatten(1)
        return action.clamp(-1, 1).repeat(1, self.action_block)

    def figure(self, state: Tensor) -> Tensor:
        """The three parts of each leg, seen from above."""
        direction = LEGS + state[..., 7:15:2]
        ankle = OUTWARD * state[..., 8:15:2]
        hip = segment(0.28, LEGS.expand_as(direction), torch.zeros_like(direction))
        knee = hip + segment(0.28, direction, torch.zeros_like(direction))
        foot = knee + segment(0.57, direction, ankle)
        joints = torch.stack((torch.zeros_like(hip), hip, knee, foot), -2)
        seen = self.position(state)[..., None, None, :] + rotate(state[..., 3:7], joints)[..., :2]
        return torch.stack((seen[..., :-1, :], seen[..., 1:, :]), -2).flatten(-4, -3)


def heading(quaternion: Tensor) -> Tensor:
    """Where the front of bodies with orientations `[..., 4]` points to in the plane, `[...]`, in radians."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def segment(length: float, direction: Tensor, down: Tensor) -> Tensor:
    """Vectors `[..., 3]` of that length, by their direction and their angle below the horizontal `[...]`."""
    flat = length * down.cos()
    return torch.stack((flat * direction.cos(), flat * direction.sin(), -length * down.sin()), -1)


def rotate(quaternion: Tensor, vectors: Tensor) -> Tensor:
    """Vectors `[..., L, J, 3]` of bodies with orientations `[..., 4]`, in the world's axes."""
    scalar, axis = quaternion[..., None, None, :1], quaternion[..., None, None, 1:].expand_as(vectors)
    turned = 2 * torch.linalg.cross(axis, vectors)
    return vectors + scalar * turned + torch.linalg.cross(axis, turned)
