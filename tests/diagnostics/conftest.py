"""Models whose gradients, curvatures and errors are known, and tasks in the open."""

import pytest
import torch

from gapclose.diagnostics.action_sequences import Landscape
from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.planning.objective import GoalDistance, Objective


@pytest.fixture
def goal_distance():
    return Objective({"goal": GoalDistance("last")})


@pytest.fixture
def open_tasks():
    """Starts and goals on the right of the wall, where a few small steps touch nothing."""
    random = torch.Generator().manual_seed(1)
    start = torch.tensor([1.0, 0.0]) + 0.1 * torch.rand(5, 2, generator=random)
    return Tasks(start, start + 0.2 * torch.randn(5, 2, generator=random))


@pytest.fixture
def open_landscape(goal_distance, open_tasks):
    """The cost of six steps under a model, in a wide world with small steps."""

    def build(world_model, objective=goal_distance):
        return Landscape(world_model, objective, Wall(action_max=0.05), open_tasks, 6)

    return build
