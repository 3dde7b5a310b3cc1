import torch

from gapclose.planning.initialization import Zeros, hold
from tests.planning.conftest import CAUTIOUS, HIGH, LAST_STEP, make, objective_of, plan, random_plans, seeded


def predictive_sampling(**changes):
    return make("predictive_sampling", **dict(init=Zeros()) | changes)


def drawn(random, best, noise_std=0.3, knots=2, k=8):
    """Noisy copies of the best normalised sequences `[N, T, A]`."""
    noise = hold(torch.randn(k, knots, 2, generator=random), best.shape[1])
    return (best.unsqueeze(1) + noise_std * noise).clamp(-1, 1)


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    made = plan(predictive_sampling(num_samples=100, iterations=25, horizon=9), point_model(), LAST_STEP)
    assert made.cost.max() < 1e-3


def test_each_iteration_takes_the_best_of_noisy_copies_of_the_best_so_far(point_model):
    random, best = seeded(), torch.zeros(4, 5, 2)
    for iterations in range(4):
        made = plan(predictive_sampling(iterations=iterations), point_model(), LAST_STEP)
        torch.testing.assert_close(made.actions, HIGH * best)
        candidates = torch.cat((best.unsqueeze(1), drawn(random, best)), 1)
        costs = torch.stack([objective_of(point_model(), LAST_STEP, HIGH * x) for x in candidates.unbind(1)], 1)
        best = candidates[torch.arange(4), costs.argmin(1)]


def test_the_noise_is_constant_between_knots_and_has_the_configured_std(point_model):
    warm_start = random_plans(4, 1, 6) / 2
    made = plan(predictive_sampling(iterations=1, noise_std=1e-3), point_model(), LAST_STEP, warm_start=warm_start)
    noise = (made.actions - warm_start.squeeze(1)) / HIGH
    assert 0 < noise.abs().max() < 5e-3
    torch.testing.assert_close(noise[:, [0, 1, 3, 4]], noise[:, [1, 2, 4, 5]], atol=1e-6, rtol=0)
    assert (noise[:, 2] != noise[:, 3]).any()


def test_more_knots_than_steps_are_a_knot_for_every_step(point_model):
    made = plan(predictive_sampling(num_knots=50, iterations=20), point_model(), LAST_STEP)
    assert made.actions.shape == (4, 5, 2)
    assert (made.actions.diff(dim=1) != 0).any()


def test_calls_of_the_model_are_counted(ensemble):
    assert plan(predictive_sampling(), ensemble, CAUTIOUS).model_calls == 4 * 5 * (1 + 4 * 8)
