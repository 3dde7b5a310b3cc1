from itertools import pairwise

import pytest
import torch

from gapclose.planning.initialization import Zeros, colored_noise
from tests.planning.conftest import CAUTIOUS, HIGH, LAST_STEP, make, plan, random_plans, scored, search_with, seeded


def icem(**changes):
    settings = dict(init=Zeros(), num_samples=40, num_elites=6, kept_elites=0.5, iterations=5)
    return make("icem", **settings | changes)


def contains(candidates, sequences):
    """Whether all sequences `[N, E, T, A]` are among the candidates `[N, K, T, A]` of their tasks."""
    return (candidates.unsqueeze(1) == sequences.unsqueeze(2)).all(-1).all(-1).any(2).all()


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    start, goal = torch.zeros(2, 2), torch.tensor([[1.5, -0.75], [-0.4, 0.6]])
    made = icem(num_samples=100, num_elites=10, iterations=15).plan(
        point_model(), LAST_STEP, start, goal, generator=seeded()
    )
    torch.testing.assert_close(made.actions.sum(1), goal, atol=0.03, rtol=0)


def test_the_population_decays_down_to_twice_the_elites(point_model):
    seen, _ = scored(icem(decay=2.0), search_with(point_model(), iterations=5))
    # First the mean; then samples and kept elites (none in the first iteration); the mean again in the last one.
    assert [x.shape[1] for x in seen] == [1, 40, 20 + 3, 12 + 3, 12 + 3, 12 + 3 + 1]


def test_the_best_elites_are_candidates_again(point_model):
    seen, kept = scored(icem(), search_with(point_model(), iterations=5))
    for before, after in pairwise(seen[1:]):
        costs = search_with(point_model()).score(before)
        best = before[torch.arange(4)[:, None], costs.argsort(1)[:, :3]]
        assert contains(after, best)
    costs = search_with(point_model()).score(seen[-1])
    torch.testing.assert_close(kept, seen[-1][torch.arange(4)[:, None], costs.argsort(1)[:, 1:3]])


def test_the_elites_of_a_plan_come_best_first(point_model):
    made = plan(icem(), point_model(), LAST_STEP)
    assert made.elites.shape == (4, 3, 5, 2)
    costs = search_with(point_model()).score(made.elites / HIGH)
    assert (costs.diff(dim=1) >= -1e-6).all()
    torch.testing.assert_close(costs[:, 0], made.cost)


def test_a_share_of_zero_keeps_no_elites(point_model):
    made = plan(icem(kept_elites=0.0), point_model(), LAST_STEP)
    assert made.elites.shape == (4, 1, 5, 2)
    seen, _ = scored(icem(kept_elites=0.0, decay=1.0), search_with(point_model(), iterations=3))
    assert [x.shape[1] for x in seen] == [1, 40, 40, 41]


def test_the_elites_of_the_last_search_are_candidates_in_the_first_iteration(point_model):
    warm_start = random_plans(4, 5, 5) / HIGH
    seen, _ = scored(icem(), search_with(point_model(), iterations=5), warm_start)
    assert seen[1].shape[1] == 40 + 3
    assert contains(seen[1], warm_start[:, :3])


def test_the_first_samples_are_coloured_noise_around_the_start(point_model):
    seen, _ = scored(icem(init_std=0.1, noise_exponent=3.0), search_with(point_model(), iterations=1))
    expected = 0.1 * colored_noise(search_with(point_model()), 40, 3.0)
    torch.testing.assert_close(seen[1][:, :40], expected.clamp(-1, 1))


def test_the_mean_is_a_candidate_in_the_last_iteration_and_has_momentum(point_model):
    for momentum in (0.0, 0.25):
        planner = icem(momentum=momentum, iterations=2)
        seen, _ = scored(planner, search_with(point_model(), iterations=2))
        costs = search_with(point_model()).score(seen[1])
        elites = seen[1][torch.arange(4)[:, None], costs.argsort(1)[:, :6]]
        mean = (1 - momentum) * elites.mean(1)
        torch.testing.assert_close(seen[2][:, -1], mean)
        random = search_with(point_model())
        colored_noise(random, 40, 2.0)
        std = (1 - momentum) * elites.std(1, correction=0) + momentum
        samples = mean.unsqueeze(1) + std.unsqueeze(1) * colored_noise(random, 32, 2.0)
        torch.testing.assert_close(seen[2][:, :32], samples.clamp(-1, 1))


def test_with_momentum_1_the_mean_does_not_change(point_model):
    seen, _ = scored(icem(momentum=1.0, iterations=5), search_with(point_model(), iterations=5))
    torch.testing.assert_close(seen[-1][:, -1], torch.zeros(4, 5, 2))


def test_calls_of_the_model_are_counted(ensemble):
    made = plan(icem(decay=2.0), ensemble, CAUTIOUS)
    assert made.model_calls == 4 * 5 * (1 + 40 + 23 + 15 + 15 + 16)


def test_coloured_noise_reaches_far_goals_that_white_noise_does_not(point_model):
    """Twenty steps of white noise cancel out; with the same number of samples, coloured noise reaches the goal."""
    start, goal = torch.zeros(10, 2), torch.tensor([5.0, -2.5]).expand(10, 2)
    slow, white = (
        icem(noise_exponent=e, horizon=20, iterations=2)
        .plan(point_model(), LAST_STEP, start, goal, generator=seeded())
        .cost.mean()
        for e in (3.0, 0.0)
    )
    assert slow < 0.5 * white


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_number_of_kept_elites_is_the_configured_share(share):
    assert icem(num_elites=10, kept_elites=share).num_kept == round(10 * share)


def test_plans_may_start_from_their_own_elites_again_and_again(ensemble):
    made = plan(icem(), ensemble, CAUTIOUS)
    for _ in range(3):
        before = made.cost
        made = plan(icem(), ensemble, CAUTIOUS, warm_start=made.elites)
        assert (made.cost <= before + 1e-6).all()
