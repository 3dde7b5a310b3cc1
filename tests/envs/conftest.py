"""Engines that run in the test process, and walls of several shapes with critical states and actions."""

import pytest
import torch

from gapclose.engines.pool import workers
from gapclose.envs.wall import Wall

WALLS = {
    "default": Wall(),
    "small steps": Wall(action_max=0.01),
    "steps longer than the arena": Wall(action_max=10.0),
    "off centre": Wall(wall_x=0.7, door=(1.0, 1.3), action_max=0.5),
    "door at the border": Wall(wall_x=-1.3, door=(-2.0, -1.9), action_max=1.0),
    "narrow door": Wall(door=(0.1, 0.101)),
    "thin": Wall(wall_x=1.3, wall_thickness=0.001, action_max=1.0),
    "thick": Wall(wall_x=-0.3, wall_thickness=1.0),
}


def half_thickness(wall):
    return wall.settings["wall_thickness"] / 2


def sample_states(wall, n, random, dtype=torch.float32):
    """Possible states, most of them critical: at the wall's faces, in the door, at the border."""
    x, y = (wall.arena * (2 * torch.rand(2, n, generator=random, dtype=dtype) - 1)).unbind()
    half, (low, high) = half_thickness(wall), wall.door
    where = torch.randint(6, (n,), generator=random)
    side = torch.where(x >= wall.wall_x, 1.0, -1.0).to(dtype)
    u = torch.rand(3, n, generator=random, dtype=dtype)
    x = torch.where(where == 1, wall.wall_x + side * half, x)
    x = torch.where(where == 2, wall.wall_x + side * (half + 0.1 * u[0]), x)
    in_door = (where == 3) | (where == 5)
    y = torch.where(in_door, (low + (high - low) * u[1]).clamp(low, high), y)
    x = torch.where(in_door, wall.wall_x + half * (2 * u[2] - 1), x)
    x = torch.where(where == 5, wall.wall_x, x)
    y = torch.where(where == 4, wall.arena * torch.sign(y), y)
    inside = ((x - wall.wall_x).abs() < half) & ((y < low) | (y > high))
    return torch.stack((torch.where(inside, wall.wall_x + side * half, x), y), -1)


def sample_actions(wall, shape, random, dtype=torch.float32):
    """Actions of all sizes: within the bounds, on them, beyond them, zero, and along one axis."""
    actions = wall.action_max * torch.randn(*shape, 2, generator=random, dtype=dtype)
    size = torch.tensor([0.0, 0.05, 0.5, 1.0, 20.0])[torch.randint(5, (*shape, 1), generator=random)]
    return actions * size.to(dtype) * (torch.rand(*shape, 2, generator=random) < 0.9)


@pytest.fixture(autouse=True)
def in_this_process():
    """Engines run in the test process, without workers."""
    number = workers.number
    workers.resize(0)
    yield
    workers.resize(number)
