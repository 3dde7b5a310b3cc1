"""Where dynamics are linear and costs quadratic, the optimum is known, and every planner has to find it."""

import pytest
import torch
from torch import Tensor

from gapclose.models.world_model import WorldModel
from gapclose.planning.initialization import Zeros
from gapclose.planning.objective import ActionSize, GoalDistance, Objective
from tests.planning.conftest import KINDS, make, seeded

STEPS, WEIGHT, BOUND = 5, 0.3, torch.ones(2)
OBJECTIVE = Objective(dict(goal=GoalDistance("last"), size=ActionSize(WEIGHT)))
BUDGETS = dict(
    gradient=dict(iterations=120),
    multistart=dict(iterations=80, num_samples=20),
    cem=dict(iterations=30, num_samples=400, num_elites=60),
    icem=dict(iterations=30, num_samples=400, num_elites=60, noise_exponent=0.0, decay=1.0),
    mppi=dict(iterations=60, num_samples=300, noise_std=0.1),
    grad_cem=dict(iterations=30, num_samples=100, num_elites=15, lr=0.02),
    predictive_sampling=dict(iterations=120, num_samples=400, num_knots=STEPS, noise_std=0.03),
    grasp=dict(iterations=12, lifted_steps=3, sync_steps=40, lr=0.02),
)


class DoubleIntegrator(WorldModel):
    """`p' = p + v / 2`, `v' = v + a / 2` along each of two axes; the latent is `(p, v)`."""

    def encode(self, observation: Tensor) -> Tensor:
        return observation.unsqueeze(1)

    def decode(self, latent: Tensor) -> Tensor:
        return latent.squeeze(-2)

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        position, velocity = latent.chunk(2, -1)
        return torch.cat((position + velocity / 2, velocity + action.unsqueeze(1) / 2), -1)

    def loss(self, window) -> Tensor:
        return self.one_step_error(window)


def tasks(n: int = 6) -> tuple[Tensor, Tensor]:
    """Starts with a velocity, and goals at rest."""
    start, goal = (torch.rand(2, n, 4, generator=seeded(3)) - 0.5) * torch.tensor([1.2, 1.2, 0.4, 0.4])
    goal[:, 2:] = 0
    return start, goal


def end(start: Tensor, actions: Tensor) -> Tensor:
    return DoubleIntegrator().rollout(start.unsqueeze(1), actions)[:, -1, 0]


def optimum(start: Tensor, goal: Tensor) -> Tensor:
    """The actions `[N, T, 2]` of least mean squared distance at the end plus weighted mean squared action."""
    n, size = len(start), 2 * STEPS
    drift = end(start, torch.zeros(n, STEPS, 2))
    response = end(torch.zeros(size, 4), torch.eye(size).view(size, STEPS, 2)).T
    normal = response.T @ response / 4 + WEIGHT * torch.eye(size) / size
    return torch.linalg.solve(normal, (goal - drift) @ response / 4, left=False).view(n, STEPS, 2)


def cost(start: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
    return OBJECTIVE.cost(DoubleIntegrator().rollout(start.unsqueeze(1), actions), actions, goal.unsqueeze(1))


def test_the_analytic_optimum_cannot_be_improved():
    start, goal = tasks()
    best = optimum(start, goal).requires_grad_()
    (gradient,) = torch.autograd.grad(cost(start, goal, best).sum(), best)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    assert best.abs().max() < 0.9, "the bounds would matter"


@pytest.mark.parametrize("kind", KINDS)
def test_every_planner_finds_the_optimum(kind):
    start, goal = tasks()
    best = optimum(start, goal)
    settings = dict(low=-BOUND, high=BOUND, horizon=STEPS, init=Zeros()) | BUDGETS[kind]
    planner, hasty = make(kind, **settings), make(kind, **settings | dict(iterations=1))
    made, begun = (x.plan(DoubleIntegrator(), OBJECTIVE, start, goal, generator=seeded()) for x in (planner, hasty))
    least = cost(start, goal, best)
    assert (made.cost >= least * (1 - 1e-4)).all()
    assert (made.cost <= 1.02 * least).all()
    assert (begun.cost > 1.02 * least).any(), "one iteration is enough: this shows nothing"
    torch.testing.assert_close(end(start, made.actions), end(start, best), atol=0.02, rtol=0)
    torch.testing.assert_close(made.actions, best, atol=0.08, rtol=0)
