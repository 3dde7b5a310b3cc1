"""A scripted policy for PushT: go around the block to the most useful push, and carry it out."""

import torch
from torch import Tensor

from gapclose.engines.pusht import SIZE, geometry

EDGE_SHARES = (0.15, 0.5, 0.85)
"""Contact points on each edge of the block, as shares of the edge's length."""
CLEARANCE = 12.0
"""Distance between agent and block at the start of a push, in px."""
MAX_PUSH = 60.0
"""Longest push that is planned at once, in px."""
PATH_COST = 0.04
"""Cost of the path to a push, in px of the block's distance to its goal per px of path."""
SAFE_RADIUS = 115.0
"""Radius of the circle around the block's centre on which the agent goes around it, in px."""
MAX_TURN = 0.7
"""Angle on that circle from the agent to its next target, at most, in radians."""
MAX_OFFSET = 10.0
"""Distance of the agent from the line of a push up to which it carries the push out, in px."""
PX_PER_RADIAN = 57.3
"""Weight of the block's angle error: a degree counts as much as a px."""
DONE = 6.0
"""Error of the block below which it is left alone, in px."""


class PushTExpert:
    """Predicts the effect of pushes perpendicular to the block's edges, and chooses the best one.

    The block has no friction: a push by `s` along the unit vector `n`, applied at `r` from its centre of gravity, moves
    it by `s n / (1 + τ²/I)` and turns it by `s (τ/I) / (1 + τ²/I)`, with the torque `τ = r × n` and the moment of
    inertia `I` over the mass. Once the block is near its goal, the agent goes to its own goal.

    Args:
        spring: the controller's gain `k_p`.
        damper: the controller's gain `k_v`.
        seconds: the controller's step in seconds.
        hold: number of controller steps that each action lasts.
        actions: number `B` of actions per step of the simulator.
        action_max: bound of each action coordinate, in px.
    """

    def __init__(
        self, spring: float, damper: float, seconds: float, hold: int, actions: int, action_max: float
    ) -> None:
        body = geometry()
        corners = torch.tensor(body.corners - body.centre, dtype=torch.float32)
        self.radius, self.actions, self.action_max = body.radius, actions, action_max
        ends = corners.roll(-1, 0)
        shares = torch.tensor(EDGE_SHARES)[:, None, None]
        self.points = torch.lerp(corners, ends, shares).flatten(0, 1)
        """Contact points `[C, 2]`, relative to the block's centre of gravity."""
        edge = (ends - corners) / (ends - corners).norm(dim=-1, keepdim=True)
        clockwise = torch.linalg.det(torch.stack((corners, ends), -1)).sum().sign()
        outward = clockwise * torch.stack((edge[:, 1], -edge[:, 0]), -1)
        self.inward = -outward.repeat(len(EDGE_SHARES), 1)
        """Directions of the pushes, unit vectors `[C, 2]`."""
        torque = self.points[:, 0] * self.inward[:, 1] - self.points[:, 1] * self.inward[:, 0]
        self.effects = torch.cat((self.inward, PX_PER_RADIAN * torque[:, None] / body.inertia), 1)
        self.effects /= (1 + torque.square() / body.inertia)[:, None]
        """Effect of a push by one px on the block: displacement and rotation (times `PX_PER_RADIAN`), `[C, 3]`."""
        once = torch.tensor(
            [[1 - spring * seconds**2, seconds * (1 - damper * seconds)], [-spring * seconds, 1 - damper * seconds]]
        )
        self.motion = torch.linalg.matrix_power(once, hold)
        """Matrix `[2, 2]` by which an action maps the agent's offset from its target, and its velocity."""
        self.centre = torch.tensor(body.centre, dtype=torch.float32)

    def __call__(self, state: Tensor, goal: Tensor) -> Tensor:
        """Actions `[N, B, 2]` in states `[N, 8]` on the way to goals `[N, 8]`."""
        turn, turn_goal = rotation(state), rotation(goal)
        centre = state[:, 4:6] + turn @ self.centre
        error = torch.cat(
            (
                ((goal[:, 4:6] + turn_goal @ self.centre - centre)[:, None] @ turn)[:, 0],  # In the block's frame.
                PX_PER_RADIAN * angle_between(state, goal)[:, None],
            ),
            1,
        )
        chosen, length = self.choose_push(error, state[:, :2] - centre, turn, centre)
        point = (turn @ self.points[chosen][..., None])[..., 0]
        inward = (turn @ self.inward[chosen][..., None])[..., 0]
        done = error.norm(dim=1) < DONE
        agent, velocity = state[:, :2] - centre, state[:, 2:4]
        actions = []
        for _ in range(self.actions):
            target = self.push_target(agent, point, inward, length)
            target = torch.where(done[:, None], self.detour_target(agent, goal[:, :2] - centre), target)
            action = (target - agent).clamp(-self.action_max, self.action_max)
            actions.append(action)
            target = (agent + action + centre).clamp(0, SIZE) - centre
            offset = torch.stack((agent - target, velocity), -2)
            offset = self.motion @ offset
            agent, velocity = target + offset[:, 0], offset[:, 1]
        return torch.stack(actions, 1)

    def choose_push(self, error: Tensor, agent: Tensor, turn: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the push with the least remaining error plus path cost: its index `[N]` and length `[N]`."""
        squares = self.effects.square().sum(1)
        lengths = (error @ self.effects.T / squares).clamp(0, MAX_PUSH)
        remaining = (error[:, None] - lengths[..., None] * self.effects).norm(dim=-1)
        starts = self.points - (self.radius + CLEARANCE) * self.inward
        starts = starts @ turn.mT
        path = (starts - agent[:, None]).norm(dim=-1)
        positions = starts + centre[:, None]
        outside = ((positions < 0) | (positions > SIZE)).any(-1)
        cost = remaining + PATH_COST * path + 1e6 * outside
        chosen = cost.argmin(1)
        return chosen, lengths.gather(1, chosen[:, None])[:, 0]

    def push_target(self, agent: Tensor, point: Tensor, inward: Tensor, length: Tensor) -> Tensor:
        """Returns the end of the push `[N, 2]` if the agent is in position for it, else the way to its start."""
        before = ((point - agent) * inward).sum(1)
        beside = (agent - point + before[:, None] * inward).norm(dim=1)
        ready = (
            (beside < MAX_OFFSET) & (before < self.radius + 3 * CLEARANCE) & (before > self.radius - length - CLEARANCE)
        )
        through = point + (length - self.radius)[:, None] * inward
        start = point - (self.radius + CLEARANCE) * inward
        return torch.where(ready[:, None], through, self.detour_target(agent, start))

    def detour_target(self, agent: Tensor, end: Tensor) -> Tensor:
        """Returns the next target `[N, 2]` on a path from the agent around the block to `end`."""
        angle, end_angle = (torch.atan2(x[:, 1], x[:, 0]) for x in (agent, end))
        turn = torch.remainder(end_angle - angle + torch.pi, 2 * torch.pi) - torch.pi
        distance = agent.norm(dim=1)
        ahead = angle + turn.clamp(-MAX_TURN, MAX_TURN) * (distance > 0.75 * SAFE_RADIUS)
        on_circle = SAFE_RADIUS * torch.stack((ahead.cos(), ahead.sin()), 1)
        near = (turn.abs() < MAX_TURN) | ((agent - end).norm(dim=1) < 2 * CLEARANCE)
        return torch.where(near[:, None], end, on_circle)


def rotation(state: Tensor) -> Tensor:
    """Rotation matrices `[N, 2, 2]` of the block in states `[N, 8]`."""
    angle = torch.atan2(state[..., 6], state[..., 7])
    sine, cosine = angle.sin(), angle.cos()
    return torch.stack((torch.stack((cosine, -sine), -1), torch.stack((sine, cosine), -1)), -2)


def angle_between(state: Tensor, goal: Tensor) -> Tensor:
    """Returns the rotation `[...]` in [-π, π] that takes the block from states `[..., 8]` to goals `[..., 8]`."""
    sine, cosine = state[..., 6:].unbind(-1)
    sine_goal, cosine_goal = goal[..., 6:].unbind(-1)
    return torch.atan2(sine_goal * cosine - cosine_goal * sine, cosine_goal * cosine + sine_goal * sine)
