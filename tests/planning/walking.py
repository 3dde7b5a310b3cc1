"""For the tests of MPC: a planner that goes straight to the goal, tasks for it, and MPC with it."""

import torch

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.planning.mpc import MPC
from gapclose.planning.planner import Planner
from tests.planning.conftest import LAST_STEP, seeded

BOUND = 0.25
BOUNDS = torch.full((2,), -BOUND), torch.full((2,), BOUND)


class Walker(Planner):
    """Plans to go straight to the goal in latent space, returns resting as its elites, and records its arguments."""

    def __init__(self, horizon, speed=1.0):
        super().__init__(*BOUNDS, horizon=horizon)
        self.speed = speed
        self.calls = []

    def search(self, search, warm_start):
        start, goal, steps = search.start[:, 0], search.goal[:, 0], search.steps
        self.calls.append((start, goal, steps, warm_start))
        way = goal - start
        heading = self.speed * way / way.abs().amax(1, keepdim=True).clamp(min=1e-9)
        # Later actions are slower, so that tests can identify the part of a plan that was passed on.
        slower = 1 - torch.arange(steps) / 100
        best = (heading.unsqueeze(1) * slower[:, None]).unsqueeze(1)
        search.score(best)
        return torch.zeros_like(best)

    @property
    def lengths(self):
        return [steps for _, _, steps, _ in self.calls]


def tasks(*distances):
    """Tasks on the right of the wall, with goals at these distances above their starts."""
    start = torch.tensor([[1.0, -1.9]]).repeat(len(distances), 1)
    return Tasks(start, start + torch.tensor([[0.0, d] for d in distances]))


def run(planner, world_model, tasks, wall=None, **settings):
    return MPC(planner, **settings).execute(wall or Wall(action_max=BOUND), world_model, LAST_STEP, tasks, seeded())
