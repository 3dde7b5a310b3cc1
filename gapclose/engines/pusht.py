"""PushT of gym-pusht: a round agent, led by a spring, pushes a T-shaped block."""

import os
from dataclasses import dataclass
from functools import cache
from math import atan2, cos, sin
from typing import ClassVar, NamedTuple

import numpy as np

from gapclose.engines.engine import Engine, installed

SIZE = 512.0
"""Width of the arena, in pixels."""


@dataclass(frozen=True)
class PushTEngine(Engine):
    """The library's space, bodies and controller, its steps of 0.01 s.

    A state is `[agent x, agent y, agent vx, agent vy, block x, block y, sin, cos]` of the block's angle; the block's
    place is that of its body's origin, the middle of the T's upper edge. An action is how far from the agent its target
    is when the action begins; the target stays while the action lasts, and is inside the arena.

    A block that nobody pushes rests, for the space's damping is 0: its velocity, which lasts for one step of 0.01 s, is
    no part of the state, and neither are the solver's impulses in a contact. A step of the simulator begins with a
    block at rest and new contacts.
    """

    action_dim: ClassVar[int] = 2

    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        world = table()
        following = np.empty_like(states)
        for row, (state, block) in enumerate(zip(states.tolist(), actions.tolist())):
            world.restore(state)
            for action in block:
                world.lead(action, hold)
            following[row] = world.observe()
        return following


class Table:
    """What the library has set up, to be used again and again."""

    def __init__(self) -> None:
        library = environment()
        self.k_p, self.k_v, self.dt = library.k_p, library.k_v, library.dt
        self.agent, self.block, self.space = library.agent, library.block, library.space
        static = self.space.static_body
        self.border = type(static)(body_type=type(static).STATIC)  # The space's own would stay with it.
        walls = [shape for shape in self.space.shapes if shape.body is static]
        shapes = list(self.space.shapes)
        self.space.remove(*walls)
        for wall in walls:
            wall.body = self.border
        self.space.add(self.border, *walls)
        # Contacts of shapes of type 0 are counted, in Python, on every step.
        for shape in shapes:
            shape.collision_type = 1
        self.bodies, self.shapes = (self.border, self.agent, self.block), shapes

    def restore(self, state: list[float]) -> None:
        """Puts agent and block where they were, into a new space: nothing of what was simulated before is left.

        Removing the shapes and adding them again to the same space would not do: it changes the order in which their
        contacts are solved.
        """
        agent, block, old = self.agent, self.block, self.space
        old.remove(*self.shapes, *self.bodies)
        self.space = space = type(old)()
        space.gravity, space.damping = old.gravity, old.damping
        space.add(*self.bodies)
        space.step(self.dt)  # Uses up the velocity that would push overlapping bodies apart, which cannot be set.
        agent.position, agent.velocity = state[:2], state[2:4]
        # Setting the angle turns the block about its centre of gravity, which is not where its position is.
        block.angle = atan2(state[6], state[7])
        block.position = state[4:6]
        block.velocity, block.angular_velocity = (0.0, 0.0), 0.0
        space.add(*self.shapes)

    def lead(self, action: list[float], hold: int) -> None:
        """As the library's `step`, toward a target relative to the agent, for so many steps of 0.01 s."""
        agent, space, k_p, k_v, dt = self.agent, self.space, self.k_p, self.k_v, self.dt
        (x, y), (right, up) = agent.position, action
        x_target, y_target = min(max(x + right, 0.0), SIZE), min(max(y + up, 0.0), SIZE)
        for _ in range(hold):
            (x, y), (vx, vy) = agent.position, agent.velocity
            ax, ay = k_p * (x_target - x) - k_v * vx, k_p * (y_target - y) - k_v * vy
            agent.velocity = vx + ax * dt, vy + ay * dt
            space.step(dt)

    def observe(self) -> list[float]:
        """The state."""
        agent, block = self.agent, self.block
        return [*agent.position, *agent.velocity, *block.position, sin(block.angle), cos(block.angle)]


table = cache(Table)
"""That of this process."""


def environment():
    """The library's environment, its space set up, made anew.

    Raises:
        UserError: the library is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with installed("PushT", "pusht"):
        from gym_pusht.envs.pusht import PushTEnv
    world = PushTEnv()
    world._setup()
    return world


class Geometry(NamedTuple):
    """What the bodies are like, in pixels.

    Attributes:
        corners: of the block, one after the other, `[8, 2]`, relative to its body's origin.
        centre: of its gravity `[2]`, likewise.
        inertia: its moment of inertia over its mass, in px².
        radius: of the agent.
    """

    corners: np.ndarray
    centre: np.ndarray
    inertia: float
    radius: float


@cache
def geometry() -> Geometry:
    """That of the library's bodies."""
    import shapely

    world = environment()
    block, (agent,) = world.block, world.agent.shapes
    whole = shapely.union_all([shapely.Polygon(shape.get_vertices()) for shape in world._block_shapes])
    corners = np.array(shapely.normalize(whole.simplify(0)).exterior.coords[:-1])
    return Geometry(corners, np.array(block.center_of_gravity), block.moment / block.mass, agent.radius)
