import pytest
import torch

from gapclose.errors import UserError
from gapclose.planning.initialization import Zeros
from tests.planning.conftest import (
    CAUTIOUS,
    EVERY_STEP,
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


def cem(**changes):
    return make("cem", **dict(init=Zeros(), num_samples=16, num_elites=4, iterations=6) | changes)


THOROUGH = dict(num_samples=200, num_elites=20, iterations=25)


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    start, goal = torch.zeros(2, 2), torch.tensor([[1.5, -0.75], [-0.4, 0.6]])
    made = cem(**THOROUGH).plan(point_model(), LAST_STEP, start, goal, generator=seeded())
    torch.testing.assert_close(made.actions.sum(1), goal, atol=0.02, rtol=0)
    assert made.cost.max() < 2e-4


def test_it_finds_the_known_optimum_where_the_goal_is_out_of_reach(point_model):
    start, goal = torch.zeros(1, 2), torch.tensor([[30.0, -30.0]])
    made = cem(**THOROUGH).plan(point_model(), EVERY_STEP, start, goal, generator=seeded())
    torch.testing.assert_close(made.actions, torch.tensor([0.5, -0.25]).expand(1, 5, 2), atol=0.01, rtol=0)


def test_one_iteration_returns_the_best_of_the_samples_and_the_mean(point_model):
    noise = torch.randn(16, 5, 2, generator=seeded()).expand(4, -1, -1, -1)
    candidates = HIGH * torch.cat((torch.zeros(4, 1, 5, 2), noise.clamp(-1, 1)), 1)
    costs = torch.stack([objective_of(point_model(), LAST_STEP, c) for c in candidates.unbind(1)], 1)
    made = plan(cem(iterations=1), point_model(), LAST_STEP)
    torch.testing.assert_close(made.cost, costs.amin(1))
    torch.testing.assert_close(made.actions, candidates[torch.arange(4), costs.argmin(1)])


def test_the_next_samples_are_drawn_from_the_gaussian_of_the_elites(point_model):
    (_, first, second), _ = scored(cem(num_samples=400), search_with(point_model(), iterations=2))
    costs = search_with(point_model()).score(first)
    elites = first[torch.arange(4)[:, None], costs.argsort(1)[:, :4]]
    random = seeded()
    torch.randn(400, 5, 2, generator=random)
    noise = torch.randn(400, 5, 2, generator=random)
    expected = elites.mean(1, keepdim=True) + noise * elites.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(second, expected.clamp(-1, 1))


def test_a_single_elite_leaves_the_gaussian_no_width(point_model):
    one, two = (plan(cem(num_elites=1, iterations=i), point_model(), LAST_STEP) for i in (1, 2))
    torch.testing.assert_close(two.actions, one.actions)
    assert plan(cem(iterations=12), point_model(), LAST_STEP).cost.mean() < one.cost.mean()


def test_a_small_initial_spread_keeps_samples_near_where_the_search_starts(point_model):
    warm_start = torch.full((4, 1, 5, 2), 0.1)
    made = plan(cem(init_std=1e-3, iterations=1), point_model(), LAST_STEP, warm_start=warm_start)
    assert 0 < (made.actions - 0.1).abs().max() < 0.01


def test_it_searches_around_the_first_sequence_of_a_warm_start(point_model):
    warm_start = random_plans(4, 3, 5) / HIGH
    (_, candidates), _ = scored(cem(init_std=1e-3), search_with(point_model(), iterations=1), warm_start)
    assert (candidates - warm_start[:, :1]).abs().max() < 0.01


def test_the_optimum_as_a_warm_start_is_kept(point_model):
    start, goal = tasks()
    best = ((goal - start) / 9).unsqueeze(1).expand(-1, 9, -1)
    made = plan(cem(), point_model(), LAST_STEP, warm_start=best.unsqueeze(1))
    assert made.cost.max() < 1e-8


def test_every_task_of_a_batch_gets_a_plan_of_its_own(point_model):
    start, goal = torch.zeros(3, 2), torch.tensor([[1.0, 0.5], [-1.0, 0.0], [0.0, -0.5]])
    made = cem(**THOROUGH).plan(point_model(), LAST_STEP, start, goal, generator=seeded())
    torch.testing.assert_close(made.actions.sum(1), goal, atol=0.05, rtol=0)


def test_calls_of_the_model_are_counted(ensemble):
    assert plan(cem(), ensemble, CAUTIOUS).model_calls == 4 * 5 * (1 + 6 * 16)


@pytest.mark.parametrize("kind", ["cem", "icem", "grad_cem"])
def test_more_elites_than_samples_are_refused_by_name(kind):
    with pytest.raises(UserError, match=r"planner\.num_elites is 9.*planner\.num_samples = 8"):
        make(kind, num_elites=9)
