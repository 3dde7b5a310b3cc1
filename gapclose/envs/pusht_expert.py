"""A scripted policy for PushT: around the block to where a push helps most, and through it."""

import torch
from torch import Tensor

from gapclose.engines.pusht import SIZE, geometry

PER_EDGE = (0.15, 0.5, 0.85)
"""Where on each edge of the block it may be pushed, as shares of the edge's length."""
CLEARANCE = 12.0
"""How far before the block a push begins, in px."""
LONGEST = 60.0
"""Push planned at once, in px."""
DETOUR = 0.04
"""What a px of the way to a push costs, in px of the block's distance to its goal."""
RING = 115.0
"""How far from the block's centre it is safe to go around it, in px."""
TURN = 0.7
"""How far around it one target lies ahead, in radians."""
CORRIDOR = 10.0
"""How far beside the line of a push the agent may be to carry it out, in px."""
LEVER = 57.3
"""A radian of the block's angle is as bad as so many px: a degree as one."""
DONE = 6.0
"""A block this near its goal is left alone, in px."""


class PushTExpert:
    """Chooses among pushes at right angles to the block's edges by what they would do to it.

    The block has no friction: a push by `s` along the unit vector `n` at the lever `r` from its centre of gravity
    moves it by `s n / (1 + τ²/I)` and turns it by `s (τ/I) / (1 + τ²/I)`, with the torque `τ = r × n` and the moment of
    inertia `I` over the mass. Once the block is near its goal, the agent goes to its own.

    Args:
        spring: the controller's gain `k_p`.
        damper: the controller's gain `k_v`.
        seconds: the controller's step in seconds.
        hold: how many of these each action lasts.
        actions: how many there are in a step.
        action_max: bound of each action coordinate, in px.
    """

    def __init__(
        self, spring: float, damper: float, seconds: float, hold: int, actions: int, action_max: float
    ) -> None:
        body = geometry()
        corners = torch.tensor(body.corners - body.centre, dtype=torch.float32)
        self.radius, self.actions, self.action_max = body.radius, actions, action_max
        ends = corners.roll(-1, 0)
        shares = torch.tensor(PER_EDGE)[:, None, None]
        self.points = torch.lerp(corners, ends, shares).flatten(0, 1)
        """Where it may be pushed, `[C, 2]`, from its centre of gravity as all here."""
        edge = (ends - corners) / (ends - corners).norm(dim=-1, keepdim=True)
        clockwise = torch.linalg.det(torch.stack((corners, ends), -1)).sum().sign()
        outward = clockwise * torch.stack((edge[:, 1], -edge[:, 0]), -1)
        self.inward = -outward.repeat(len(PER_EDGE), 1)
        """In which direction, unit vectors `[C, 2]`."""
        torque = self.points[:, 0] * self.inward[:, 1] - self.points[:, 1] * self.inward[:, 0]
        self.effects = torch.cat((self.inward, LEVER * torque[:, None] / body.inertia), 1)
        self.effects /= (1 + torque.square() / body.inertia)[:, None]
        """What a push by one px does to the block: moves it, and turns it (times `LEVER`), `[C, 3]`."""
        once = torch.tensor(
            [[1 - spring * seconds**2, seconds * (1 - damper * seconds)], [-spring * seconds, 1 - damper * seconds]]
        )
        self.motion = torch.linalg.matrix_power(once, hold)
        """What an action makes of the agent's distance from its target, and of its velocity."""
        self.centre = torch.tensor(body.centre, dtype=torch.float32)

    def __call__(self, state: Tensor, goal: Tensor) -> Tensor:
        """Actions `[N, B, 2]` in states `[N, 8]` on the way to goals `[N, 8]`."""
        turn, turn_goal = rotation(state), rotation(goal)
        centre = state[:, 4:6] + turn @ self.centre
        error = torch.cat(
            (
                ((goal[:, 4:6] + turn_goal @ self.centre - centre)[:, None] @ turn)[:, 0],  # In the block's frame.
                LEVER * angle_between(state, goal)[:, None],
            ),
            1,
        )
        chosen, length = self.choose(error, state[:, :2] - centre, turn, centre)
        point = (turn @ self.points[chosen][..., None])[..., 0]
        inward = (turn @ self.inward[chosen][..., None])[..., 0]
        done = error.norm(dim=1) < DONE
        place, velocity = state[:, :2] - centre, state[:, 2:4]
        actions = []
        for _ in range(self.actions):
            target = self.target(place, point, inward, length)
            target = torch.where(done[:, None], self.around(place, goal[:, :2] - centre), target)
            action = (target - place).clamp(-self.action_max, self.action_max)
            actions.append(action)
            target = (place + action + centre).clamp(0, SIZE) - centre
            left = torch.stack((place - target, velocity), -2)
            left = self.motion @ left
            place, velocity = target + left[:, 0], left[:, 1]
        return torch.stack(actions, 1)

    def choose(self, error: Tensor, place: Tensor, turn: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """The push that brings the block nearest to its goal for the way that it takes: number `[N]`, length `[N]`."""
        squares = self.effects.square().sum(1)
        lengths = (error @ self.effects.T / squares).clamp(0, LONGEST)
        left = (error[:, None] - lengths[..., None] * self.effects).norm(dim=-1)
        starts = self.points - (self.radius + CLEARANCE) * self.inward
        starts = starts @ turn.mT
        way = (starts - place[:, None]).norm(dim=-1)
        inside = starts + centre[:, None]
        outside = ((inside < 0) | (inside > SIZE)).any(-1)
        price = left + DETOUR * way + 1e6 * outside
        chosen = price.argmin(1)
        return chosen, lengths.gather(1, chosen[:, None])[:, 0]

    def target(self, place: Tensor, point: Tensor, inward: Tensor, length: Tensor) -> Tensor:
        """Where to go for a push: through the block when before it, else to where it begins."""
        before = ((point - place) * inward).sum(1)
        beside = (place - point + before[:, None] * inward).norm(dim=1)
        ready = (
            (beside < CORRIDOR) & (before < self.radius + 3 * CLEARANCE) & (before > self.radius - length - CLEARANCE)
        )
        through = point + (length - self.radius)[:, None] * inward
        return torch.where(ready[:, None], through, self.around(place, point - (self.radius + CLEARANCE) * inward))

    def around(self, place: Tensor, end: Tensor) -> Tensor:
        """The next target on the way to a place, which leads around the block."""
        angle, to = (torch.atan2(x[:, 1], x[:, 0]) for x in (place, end))
        turn = torch.remainder(to - angle + torch.pi, 2 * torch.pi) - torch.pi
        distance = place.norm(dim=1)
        ahead = angle + turn.clamp(-TURN, TURN) * (distance > 0.75 * RING)
        ring = RING * torch.stack((ahead.cos(), ahead.sin()), 1)
        near = (turn.abs() < TURN) | ((place - end).norm(dim=1) < 2 * CLEARANCE)
        return torch.where(near[:, None], end, ring)


def rotation(state: Tensor) -> Tensor:
    """Rotation matrices `[N, 2, 2]` of the block in states `[N, 8]`."""
    angle = torch.atan2(state[..., 6], state[..., 7])
    sine, cosine = angle.sin(), angle.cos()
    return torch.stack((torch.stack((cosine, -sine), -1), torch.stack((sine, cosine), -1)), -2)


def angle_between(state: Tensor, goal: Tensor) -> Tensor:
    """By how much the block in states `[..., 8]` must turn to be as in the goals, in [-π, π]: `[...]`."""
    sine, cosine = state[..., 6:].unbind(-1)
    sine_goal, cosine_goal = goal[..., 6:].unbind(-1)
    return torch.atan2(sine_goal * cosine - cosine_goal * sine, cosine_goal * cosine + sine_goal * sine)
