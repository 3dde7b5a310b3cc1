import pytest
import torch

from gapclose.planning.initialization import Zeros
from gapclose.planning.objective import GoalDistance, Objective
from tests.planning.conftest import (
    CAUTIOUS,
    HIGH,
    LAST_STEP,
    make,
    objective_of,
    plan,
    random_plans,
    scored,
    search_with,
    seeded,
    tasks,
)


def mppi(**changes):
    return make("mppi", **dict(init=Zeros(), num_samples=20) | changes)


def samples(mean, noise_std=0.5, k=20):
    """The first samples around a mean `[N, 1, T, A]`, which is one of them."""
    drawn = (mean + noise_std * torch.randn(k, 5, 2, generator=seeded())).clamp(-1, 1)
    drawn[:, :1] = mean
    return drawn


def mean_after_one_iteration(model, mean, **changes):
    """The planner scores the mean last."""
    (_, found), _ = scored(mppi(**changes), search_with(model, iterations=1), mean)
    return found


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    made = plan(mppi(num_samples=100, iterations=25, horizon=9), point_model(), LAST_STEP)
    assert made.cost.max() < 1e-3


def test_samples_are_weighted_by_the_exponential_of_their_negative_costs(point_model):
    mean = random_plans(4, 1, 5) / HIGH
    drawn = samples(mean)
    costs = search_with(point_model()).score(drawn)
    weights = torch.exp(-(costs - costs.amin(1, keepdim=True)) / (0.3 * costs.std(1, correction=0, keepdim=True)))
    expected = (weights / weights.sum(1, keepdim=True)).unsqueeze(-1).unsqueeze(-1) * drawn
    found = mean_after_one_iteration(point_model(), mean, temperature=0.3)
    torch.testing.assert_close(found, expected.sum(1, keepdim=True))


def test_a_low_temperature_takes_the_best_sample(point_model):
    mean = random_plans(4, 1, 5) / HIGH
    drawn = samples(mean)
    best = search_with(point_model()).score(drawn).argmin(1)
    found = mean_after_one_iteration(point_model(), mean, temperature=1e-4)
    torch.testing.assert_close(found.squeeze(1), drawn[torch.arange(4), best])


def test_a_high_temperature_takes_the_mean_of_all_samples(point_model):
    mean = random_plans(4, 1, 5) / HIGH
    found = mean_after_one_iteration(point_model(), mean, temperature=1e6)
    torch.testing.assert_close(found, samples(mean).mean(1, keepdim=True), atol=1e-4, rtol=0)


def test_the_temperature_does_not_depend_on_the_scale_of_the_costs(point_model):
    small, large = (Objective(dict(goal=GoalDistance(weight=weight))) for weight in (1e-3, 1e3))
    one, other = (plan(mppi(), point_model(), objective) for objective in (small, large))
    torch.testing.assert_close(one.actions, other.actions, atol=1e-4, rtol=0)


def test_the_noise_has_the_configured_std(point_model):
    warm_start = random_plans(4, 1, 5) / 2
    made = plan(mppi(noise_std=1e-4), point_model(), LAST_STEP, warm_start=warm_start)
    assert 0 < (made.actions - warm_start.squeeze(1)).abs().max() < 1e-3


def test_the_best_sample_is_the_plan_where_the_average_is_worse(point_model):
    drawn = samples(torch.zeros(4, 1, 5, 2))
    costs = torch.stack([objective_of(point_model(), LAST_STEP, HIGH * x) for x in drawn.unbind(1)], 1)
    made = plan(mppi(iterations=1, temperature=1e6), point_model(), LAST_STEP)
    assert (made.cost <= costs.amin(1) + 1e-6).all()


def test_samples_with_nan_costs_have_no_weight(point_model):
    """The model predicts NaN for fast actions to the right."""

    class Ignorant(point_model):
        def step(self, latent, action):
            return super().step(latent, torch.where(action[:, :1] > 0.45, torch.nan, action))

    mean = mean_after_one_iteration(Ignorant(), torch.zeros(4, 1, 5, 2))
    assert mean.isfinite().all()


def test_equal_costs_weigh_the_same(point_model):
    start, _ = tasks()
    made = mppi(target_cost=1.0).plan(point_model(), LAST_STEP, start, start, generator=seeded())
    assert torch.equal(made.actions, torch.zeros(4, 5, 2))


@pytest.mark.parametrize("iterations", [0, 3])
def test_calls_of_the_model_are_counted(ensemble, iterations):
    made = plan(mppi(iterations=iterations), ensemble, CAUTIOUS)
    assert made.model_calls == 4 * 5 * (iterations * 20 + 1)
