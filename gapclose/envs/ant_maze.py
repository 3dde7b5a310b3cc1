"""AntMaze: a quadruped in a maze, with torques on its joints."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.ant_maze import AntMazeEngine, environment
from gapclose.envs.maze import Maze, MazeSimulator
from gapclose.setting_types import EngineSteps

LEGS = math.pi * (torch.arange(4) / 2 + 0.25)
"""Direction of each leg, in radians from the body's front."""
TROT = torch.tensor([1.0, -1.0, 1.0, -1.0])
"""Sign of each leg in the trot: diagonal legs move together."""
OUTWARD = torch.tensor([1.0, -1.0, -1.0, 1.0])
"""Sign of each leg's ankle angle."""
ACTUATED = [3, 0, 1, 2]
"""The legs in the order of the actions; each leg has a hip and an ankle."""


class AntMaze(MazeSimulator):
    """The AntMaze of OGBench (Park et al. 2025, arXiv 2410.20092), simulated by MuJoCo.

    A state `[29]` is the position `[x, y, z]` of the body, its orientation (a quaternion), the hip and ankle angles of
    the four legs, and the velocities of all of these, in metres, radians and seconds. An action is the torques on hip
    and ankle of each leg, in [-1, 1]. An engine step takes 0.02 s; a step of OGBench is five of them. The noise of
    starts and goals and the success radius are those of OGBench.

    Args:
        maze: name of the map; `arena` is empty.
        frameskip: engine steps per step.
        action_block: actions per step, each held for an equal share of it.
        min_distance: least distance from start to goal through the maze, in cells of 4 m.
        max_distance: largest such distance; `None` means no limit.

    Raises:
        UserError: OGBench is not installed, no two cells are that far apart, or `frameskip` is not a multiple of
            `action_block`.
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
    """Gait of the expert: amplitudes of the hips (`swing`) and ankles (`lift`) in radians, frequency in radians per
    second, phase lead of the targets over the present phase (`lead`) and of the ankles over the hips (`delay`) in
    radians, gains of the controller (`stiffness`, `damping`), and the ankles' mean angle (`ankle`) in radians. The
    values come from a search for the longest distance walked in four seconds."""

    @validate_call
    def __init__(
        self,
        maze: Literal["arena", "medium", "large", "giant"] = "medium",
        frameskip: EngineSteps = 5,
        action_block: PositiveInt = 1,
        min_distance: PositiveInt = 1,
        max_distance: PositiveInt | None = None,
    ) -> None:
        library = environment(maze)
        # In OGBench the first row is at the bottom, and the cell in the second row and column is at the origin.
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
        """A trot along that axis of the body which points most nearly to the next cell on the shortest path.

        The phase of the gait is computed from the angles and velocities of the hips, so there is no clock.
        """
        gait = self.gait
        hips, ankles, hip_speeds, ankle_speeds = (state[:, first : first + 8 : 2] for first in (7, 8, 21, 22))
        way = self.waypoint(state, goal) - self.position(state)
        bearing = torch.atan2(way[:, 1], way[:, 0]) - heading(state[:, 3:7])
        axis = (bearing / (math.pi / 2)).round() * (math.pi / 2)
        # How far each hip has to swing, forward being positive: feet on the ground move against the body's direction.
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
        """The three segments of each leg, seen from above."""
        direction = LEGS + state[..., 7:15:2]
        ankle = OUTWARD * state[..., 8:15:2]
        hip = segment(0.28, LEGS.expand_as(direction), torch.zeros_like(direction))
        knee = hip + segment(0.28, direction, torch.zeros_like(direction))
        foot = knee + segment(0.57, direction, ankle)
        joints = torch.stack((torch.zeros_like(hip), hip, knee, foot), -2)
        seen = self.position(state)[..., None, None, :] + rotate(state[..., 3:7], joints)[..., :2]
        return torch.stack((seen[..., :-1, :], seen[..., 1:, :]), -2).flatten(-4, -3)


def heading(quaternion: Tensor) -> Tensor:
    """Direction in the plane of the front of bodies with orientations `[..., 4]`, in radians: `[...]`."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def segment(length: float, direction: Tensor, down: Tensor) -> Tensor:
    """Vectors `[..., 3]` of this length, given their direction and their angle below the horizontal, both `[...]`."""
    flat = length * down.cos()
    return torch.stack((flat * direction.cos(), flat * direction.sin(), -length * down.sin()), -1)


def rotate(quaternion: Tensor, vectors: Tensor) -> Tensor:
    """Rotates vectors `[..., L, J, 3]` from the frame of bodies with orientations `[..., 4]` into the world frame."""
    scalar, axis = quaternion[..., None, None, :1], quaternion[..., None, None, 1:].expand_as(vectors)
    turned = 2 * torch.linalg.cross(axis, vectors)
    return vectors + scalar * turned + torch.linalg.cross(axis, turned)
