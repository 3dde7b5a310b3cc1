"""The engine of PushT (gym-pusht): a round agent, pulled by a spring, pushes a T-shaped block."""

import os
from dataclasses import dataclass
from functools import cache
from math import atan2, cos, sin
from typing import ClassVar, NamedTuple

import numpy as np

from gapclose.engines.engine import Engine, optional_import

SIZE = 512.0
"""Width of the arena, in pixels."""


@dataclass(frozen=True)
class PushTEngine(Engine):
    """Physics, bodies and controller of gym-pusht, in its steps of 0.01 s.

    A state is `[agent x, agent y, agent vx, agent vy, block x, block y, sin, cos]`; the last two are those of the
    block's angle. The block's position is the origin of its body, the middle of the T's upper edge. An action is the
    displacement from the agent to its target at the start of the action. The target is clipped to the arena and stays
    fixed while the action lasts.

    The space has damping 0, so a block that is not pushed stays at rest. The block's velocity lasts for one step of
    0.01 s and is not part of the state, and neither are the solver's impulses in a contact. Each step of the simulator
    starts with a block at rest and new contacts.
    """

    action_dim: ClassVar[int] = 2

    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        world = shared_world()
        next_states = np.empty_like(states)
        for row, (state, block) in enumerate(zip(states.tolist(), actions.tolist())):
            world.restore(state)
            for action in block:
                world.apply(action, hold)
            next_states[row] = world.state()
        return next_states


class World:
    """The bodies and the physics space of one environment of gym-pusht, reused for every step."""

    def __init__(self) -> None:
        library = environment()
        self.k_p, self.k_v, self.dt = library.k_p, library.k_v, library.dt
        self.agent, self.block, self.space = library.agent, library.block, library.space
        static = self.space.static_body
        # The walls get a body of their own: the space's static body cannot move with them to a new space.
        self.border = type(static)(body_type=type(static).STATIC)
        walls = [shape for shape in self.space.shapes if shape.body is static]
        shapes = list(self.space.shapes)
        self.space.remove(*walls)
        for wall in walls:
            wall.body = self.border
        self.space.add(self.border, *walls)
        # The library counts contacts of shapes of type 0 in Python, on every step, which is slow.
        for shape in shapes:
            shape.collision_type = 1
        self.bodies, self.shapes = (self.border, self.agent, self.block), shapes

    def restore(self, state: list[float]) -> None:
        """Puts agent and block into a new space in this state, so that nothing of earlier simulations is left.

        Removing the shapes and adding them again to the same space is not enough: it changes the order in which their
        contacts are solved.
        """
        agent, block, old = self.agent, self.block, self.space
        old.remove(*self.shapes, *self.bodies)
        self.space = space = type(old)()
        space.gravity, space.damping = old.gravity, old.damping
        space.add(*self.bodies)
        # Uses up the hidden velocity that pushes overlapping bodies apart; it cannot be set.
        space.step(self.dt)
        agent.position, agent.velocity = state[:2], state[2:4]
        # The position is set after the angle: setting the angle turns the block about its centre of gravity, which
        # moves its position.
        block.angle = atan2(state[6], state[7])
        block.position = state[4:6]
        block.velocity, block.angular_velocity = (0.0, 0.0), 0.0
        space.add(*self.shapes)

    def apply(self, action: list[float], hold: int) -> None:
        """Same as the library's `step`, but with a target relative to the agent, for `hold` steps of 0.01 s."""
        agent, space, k_p, k_v, dt = self.agent, self.space, self.k_p, self.k_v, self.dt
        (x, y), (dx, dy) = agent.position, action
        x_target, y_target = min(max(x + dx, 0.0), SIZE), min(max(y + dy, 0.0), SIZE)
        for _ in range(hold):
            (x, y), (vx, vy) = agent.position, agent.velocity
            ax, ay = k_p * (x_target - x) - k_v * vx, k_p * (y_target - y) - k_v * vy
            agent.velocity = vx + ax * dt, vy + ay * dt
            space.step(dt)

    def state(self) -> list[float]:
        """Returns the state, as in `PushTEngine`."""
        agent, block = self.agent, self.block
        return [*agent.position, *agent.velocity, *block.position, sin(block.angle), cos(block.angle)]


shared_world = cache(World)
"""Returns the world of this process, built on the first call."""


def environment():
    """Builds a new environment of gym-pusht, with its physics space set up.

    Raises:
        UserError: gym-pusht is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with optional_import("PushT", "pusht"):
        from gym_pusht.envs.pusht import PushTEnv
    world = PushTEnv()
    world._setup()
    return world


class Geometry(NamedTuple):
    """The shapes of block and agent, in pixels.

    Attributes:
        corners: corners of the block in order, `[8, 2]`, relative to its body's origin.
        centre: centre of gravity of the block, `[2]`, relative to its body's origin.
        inertia: moment of inertia of the block over its mass, in px².
        radius: radius of the agent.
    """

    corners: np.ndarray
    centre: np.ndarray
    inertia: float
    radius: float


@cache
def geometry() -> Geometry:
    """Returns the geometry of the library's bodies."""
    import shapely

    world = environment()
    block, (agent,) = world.block, world.agent.shapes
    whole = shapely.union_all([shapely.Polygon(shape.get_vertices()) for shape in world._block_shapes])
    corners = np.array(shapely.normalize(whole.simplify(0)).exterior.coords[:-1])
    return Geometry(corners, np.array(block.center_of_gravity), block.moment / block.mass, agent.radius)
