import torch

from gapclose.planning.initialization import Zeros
from tests.planning.conftest import CAUTIOUS, EVERY_STEP, HIGH, LAST_STEP, make, plan, search_with, seeded, tasks

FEW = dict(init=Zeros(), num_samples=6, num_elites=2, iterations=8)


def improved(candidates, model, **changes):
    return make("grad_cem", **changes).improve(search_with(model), candidates)


def test_it_is_better_than_cem_with_the_same_few_samples(point_model):
    grad_cem, cem = (plan(make(kind, **FEW), point_model(), EVERY_STEP).cost for kind in ("grad_cem", "cem"))
    assert (grad_cem < cem).all()
    assert grad_cem.mean() < 0.8 * cem.mean()


def test_the_largest_step_of_each_sequence_is_as_long_as_the_learning_rate(point_model):
    candidates = torch.rand(4, 3, 5, 2, generator=seeded()) - 0.5
    moved, costs = improved(candidates, point_model(), lr=0.07)
    steps = (moved - candidates).abs().amax((2, 3))
    torch.testing.assert_close(steps, torch.full((4, 3), 0.07))
    torch.testing.assert_close(costs, search_with(point_model()).score(moved))


def test_a_step_goes_against_the_gradient(point_model):
    candidates = torch.rand(4, 3, 5, 2, generator=seeded()) - 0.5
    moved, _ = improved(candidates, point_model(), lr=0.07)
    start, goal = (x[:, None] for x in tasks())
    gradient = HIGH * (start + (HIGH * candidates).sum(2) - goal)
    expected = -0.07 * gradient / gradient.abs().amax(2, keepdim=True)
    torch.testing.assert_close(moved - candidates, expected.unsqueeze(2).expand_as(candidates))


def test_several_steps_equal_repeated_single_steps(point_model):
    candidates = torch.rand(4, 3, 5, 2, generator=seeded()) - 0.5
    together, _ = improved(candidates, point_model(), gradient_steps=3)
    for _ in range(3):
        candidates, _ = improved(candidates, point_model())
    torch.testing.assert_close(together, candidates)


def test_steps_end_at_the_bounds(point_model):
    moved, _ = improved(torch.ones(4, 3, 5, 2), point_model(), lr=5.0)
    assert moved.abs().max() == 1


def test_actions_without_gradient_do_not_move(point_model):
    search = search_with(point_model())
    search.goal = search.start
    moved, costs = make("grad_cem").improve(search, torch.zeros(4, 2, 5, 2))
    assert torch.equal(moved, torch.zeros(4, 2, 5, 2))
    assert torch.equal(costs, torch.zeros(4, 2))


def test_calls_of_the_model_are_counted_forward_and_backward(ensemble):
    made = plan(make("grad_cem", gradient_steps=2, iterations=3), ensemble, CAUTIOUS)
    assert made.model_calls == 4 * 5 * (1 + 3 * 8 * (2 * 2 + 1))


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    made = plan(make("grad_cem", init=Zeros(), iterations=20, horizon=9), point_model(), LAST_STEP)
    assert made.cost.max() < 5e-3
