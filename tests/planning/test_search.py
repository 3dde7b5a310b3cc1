import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gapclose.planning.search import Bounds, Search, select
from tests.planning.conftest import (
    ANNEALED,
    CAUTIOUS,
    HIGH,
    LAST_STEP,
    objective_of,
    random_plans,
    search_with,
    seeded,
    tasks,
)


def test_normalised_actions_from_minus_one_to_one_span_the_action_bounds():
    bounds = Bounds(torch.tensor([-0.25, 1.0]), torch.tensor([0.25, 3.0]))
    normalised = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 0.5]])
    actions = torch.tensor([[-0.25, 1.0], [0.0, 2.0], [0.25, 2.5]])
    torch.testing.assert_close(bounds.denormalize(normalised), actions)
    torch.testing.assert_close(bounds.normalize(actions), normalised)


def test_actions_outside_the_bounds_are_clipped_to_them():
    bounds = Bounds(torch.tensor([-0.25]), torch.tensor([0.75]))
    assert bounds.normalize(torch.tensor([[-9.0], [9.0]])).tolist() == [[-1.0], [1.0]]
    assert bounds.denormalize(torch.tensor([[-9.0], [9.0]])).tolist() == [[-0.25], [0.75]]


@given(st.integers(-100, 100), st.integers(1, 100), st.floats(-1, 1, width=32))
@example(-10, 40, -1.0)
@example(-10, 40, 1.0)
def test_actions_are_exactly_inside_the_bounds_and_come_back(low, width, action):
    bounds = Bounds(torch.tensor([low / 100]), torch.tensor([(low + width) / 100]))
    normalised = torch.tensor([action])
    actions = bounds.denormalize(normalised)
    assert bounds.low <= actions <= bounds.high
    torch.testing.assert_close(bounds.normalize(actions), normalised, atol=1e-3, rtol=0)


def test_bounds_take_the_type_of_the_actions():
    bounds = Bounds(torch.tensor([-0.25]), torch.tensor([0.75]))
    assert bounds.denormalize(torch.zeros(3, 1, dtype=torch.float64)).dtype == torch.float64
    assert bounds.normalize(torch.zeros(3, 1, dtype=torch.float64)).dtype == torch.float64


def test_a_score_is_the_objective_of_the_imagined_rollout(point_model):
    search = search_with(point_model(gain=2.0), n=2, steps=3, low=torch.full((2,), -0.5), high=torch.full((2,), 0.5))
    search.start, search.goal = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]])
    # Gain 2, three steps of 0.5 along x: both end at (3, 0); the second candidate stays.
    candidates = torch.stack((torch.tensor([1.0, 0.0]).expand(2, 3, 2), torch.zeros(2, 3, 2)), 1)
    torch.testing.assert_close(search.score(candidates), torch.tensor([[4 / 2, 1 / 2], [(9 + 9) / 2, 9 / 2]]))
    assert torch.equal(search.best, torch.zeros(2, 3, 2))
    torch.testing.assert_close(search.best_cost, torch.tensor([0.5, 4.5]))


@pytest.mark.parametrize("objective", [CAUTIOUS, ANNEALED], ids=["constant", "annealed"])
@pytest.mark.parametrize("rows_at_once", [1, 3, 7, 20, 10_000])
def test_scores_and_gradients_do_not_depend_on_the_batch_size(ensemble, monkeypatch, objective, rows_at_once):
    candidates = 2 * torch.rand(4, 5, 6, 2, generator=seeded()) - 1
    whole = search_with(ensemble, objective, steps=6)
    scores = whole.score(candidates)
    costs, gradients = whole.costs_and_gradients(candidates)
    monkeypatch.setattr(Search, "rows_at_once", lambda self, gradients: rows_at_once)
    search = search_with(ensemble, objective, steps=6)
    torch.testing.assert_close(search.score(candidates), scores)
    again, in_parts = search.costs_and_gradients(candidates)
    torch.testing.assert_close(again, costs)
    torch.testing.assert_close(in_parts, gradients)
    torch.testing.assert_close(search.best, whole.best)
    torch.testing.assert_close(search.best_cost, whole.best_cost)


def test_scores_and_gradients_equal_those_of_the_objective(ensemble):
    normalised = (2 * torch.rand(4, 3, 6, 2, generator=seeded()) - 1).requires_grad_()
    start, goal = (ensemble.encode(x).repeat_interleave(3, 0) for x in tasks())
    actions = HIGH * normalised.flatten(0, 1)
    expected = CAUTIOUS.cost(ensemble.rollout(start, actions), actions, goal).view(4, 3)
    (gradient,) = torch.autograd.grad(expected.sum(), normalised)
    costs, gradients = search_with(ensemble, CAUTIOUS, steps=6).costs_and_gradients(normalised.detach())
    torch.testing.assert_close(costs, expected.detach())
    torch.testing.assert_close(gradients, gradient)
    scores = search_with(ensemble, CAUTIOUS, steps=6).score(normalised.detach())
    torch.testing.assert_close(scores, costs)
    assert not scores.requires_grad
    assert not costs.requires_grad
    assert not gradients.requires_grad


def test_gradients_need_no_outer_gradient_mode(ensemble):
    candidates = 2 * torch.rand(4, 3, 5, 2, generator=seeded()) - 1
    with torch.no_grad():
        _, gradients = search_with(ensemble).costs_and_gradients(candidates)
    assert torch.equal(gradients, search_with(ensemble).costs_and_gradients(candidates)[1])


def test_transitions_predicted_and_differentiated_are_counted(point_model):
    search = search_with(point_model(), n=3, steps=7)
    search.score(torch.zeros(3, 4, 7, 2))
    assert search.model_calls == 3 * 4 * 7
    search.costs_and_gradients(torch.zeros(3, 2, 7, 2))
    assert search.model_calls == 3 * 4 * 7 + 2 * 3 * 2 * 7
    search.step_gradient(torch.zeros(3, 6, 1, 2), torch.zeros(3, 6, 2), torch.zeros(3, 6, 1, 2))
    assert search.model_calls == 3 * 4 * 7 + 2 * 3 * 2 * 7 + 2 * 3 * 6


def offered(costs, search):
    """The search after candidates with these costs; the candidates consist of their indices."""
    costs = torch.tensor(costs)
    numbers = torch.arange(costs.shape[1], dtype=torch.float32)[None, :, None, None]
    search.update_best(numbers.expand(len(costs), -1, search.steps, 2), costs)
    return search


def test_the_best_is_remembered_task_by_task(point_model):
    search = offered([[3.0, 1.0, 2.0], [0.5, 4.0, 4.0]], search_with(point_model(), n=2, steps=1))
    assert search.best_cost.tolist() == [1.0, 0.5]
    assert search.best[:, 0, 0].tolist() == [1, 0]
    offered([[9.0, 9.0, 0.25], [0.5, 0.5, 0.5]], search)
    assert search.best_cost.tolist() == [0.25, 0.5]
    assert search.best[:, 0, 0].tolist() == [2, 0]


def test_nan_and_infinite_costs_are_never_chosen(point_model):
    nan, inf = float("nan"), float("inf")
    search = offered([[nan, 2.0, inf], [nan, inf, nan]], search_with(point_model(), n=2, steps=1))
    assert search.best_cost.tolist() == [2.0, inf]
    assert search.best[:, 0, 0].tolist() == [1, 0]
    offered([[nan, nan, nan], [inf, 7.0, nan]], search)
    assert search.best_cost.tolist() == [2.0, 7.0]


def test_finished_tasks_are_not_evaluated_any_more(point_model):
    search = search_with(point_model(), target_cost=0.1)
    search.goal[1:3] = search.start[1:3]
    search.score(torch.zeros(4, 1, 5, 2))
    assert search.active.tolist() == [True, False, False, True]
    calls, candidates = search.model_calls, 2 * torch.rand(4, 3, 5, 2, generator=seeded()) - 1
    costs, gradients = search.costs_and_gradients(candidates)
    assert search.model_calls == calls + 2 * 2 * 3 * 5
    assert torch.equal(costs[1:3], torch.zeros(2, 3))
    assert torch.equal(gradients[1:3], torch.zeros(2, 3, 5, 2))
    assert torch.equal(search.best[1:3], torch.zeros(2, 5, 2))
    expected_costs, expected = search_with(point_model()).costs_and_gradients(candidates)
    live = torch.tensor([0, 3])
    torch.testing.assert_close(costs[live], expected_costs[live])
    torch.testing.assert_close(gradients[live], expected[live])


def test_a_cost_equal_to_the_target_finishes_a_task(point_model):
    search = offered([[0.1], [0.2]], search_with(point_model(), n=2, steps=1, target_cost=0.1))
    search.budget = search.budget._replace(target_cost=search.best_cost[0].item())
    assert search.active.tolist() == [False, True]


def test_progress_is_the_share_of_the_iterations(point_model):
    search = search_with(point_model(), iterations=4)
    assert [search.progress for _ in search.iterations()] == [0, 0.25, 0.5, 0.75]
    assert search.progress == 1


def test_progress_is_the_larger_of_the_shares_of_iterations_and_time(point_model, monkeypatch):
    search = search_with(point_model(), iterations=10, seconds=8.0)
    # The clock is read three times per iteration: for the progress, for the time limit, and for the record.
    moments = iter([0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0, 8.0, 8.0])
    monkeypatch.setattr(search, "elapsed", lambda: next(moments))
    assert [search.progress for _ in search.iterations()] == [0, 0.5, 0.75]
    assert search.progress == 1


def test_iterations_count_from_zero_and_end_with_the_last_active_task(point_model):
    search = search_with(point_model(), n=1, steps=1, target_cost=1.0, iterations=9)
    seen = []
    for iteration in search.iterations():
        seen.append(iteration)
        offered([[3.0 - iteration]], search)
    assert seen == [0, 1, 2]
    costs, seconds, actions = search.history()
    assert costs.tolist() == [3.0, 2.0, 1.0]
    assert (seconds.diff() >= 0).all()
    assert actions is None


def test_zero_iterations_yield_nothing(point_model):
    search = search_with(point_model(), iterations=0)
    assert list(search.iterations()) == []
    assert search.progress == 1


def test_history_is_the_mean_over_tasks_and_the_actions_in_the_simulators_units(point_model):
    search = search_with(point_model(), n=2, steps=1, remember=True)
    offered([[3.0, 1.0], [4.0, 5.0]], search).record()
    offered([[0.0, 1.0], [4.0, 2.0]], search).record()
    costs, _, actions = search.history()
    assert costs.tolist() == [2.5, 1.0]
    # The candidates are their indices as normalised actions, so candidate 1 is at the upper bounds.
    torch.testing.assert_close(actions[:, :, 0], torch.tensor([[1, 0], [0, 1]])[..., None] * HIGH)


def test_annealed_gradients_use_the_present_weights_but_the_best_is_chosen_by_the_final_ones(ensemble):
    search = search_with(ensemble, ANNEALED)
    candidates = 2 * torch.rand(4, 8, 5, 2, generator=seeded()) - 1
    search.progress = 0.25
    costs, gradients = search.costs_and_gradients(candidates)
    plain = search_with(ensemble, LAST_STEP)
    goal, goal_gradient = plain.costs_and_gradients(candidates)
    torch.testing.assert_close(goal, plain.score(candidates))
    final = torch.stack([objective_of(ensemble, ANNEALED, HIGH * x) for x in candidates.unbind(1)], 1)
    torch.testing.assert_close(search.score(candidates), goal + 0.25 * (final - goal), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(costs, final)
    torch.testing.assert_close(search.best_cost, final.amin(1))
    torch.testing.assert_close(search.best, select(candidates, final.argmin(1, keepdim=True)).squeeze(1))
    assert not torch.allclose(gradients, goal_gradient)


def test_a_step_gradient_is_that_of_half_the_squared_distance(ensemble):
    latents, targets = torch.randn(2, 4, 5, 3, 2, generator=seeded())
    actions = (2 * torch.rand(4, 5, 2, generator=seeded()) - 1).requires_grad_()
    predicted = ensemble.step(latents.flatten(0, 1), HIGH * actions.flatten(0, 1)).unflatten(0, (4, 5))
    (expected,) = torch.autograd.grad(0.5 * (predicted - targets).square().sum(), actions)
    found, gradient = search_with(ensemble).step_gradient(latents, actions.detach(), targets)
    torch.testing.assert_close(found, predicted.detach())
    torch.testing.assert_close(gradient, expected)
    assert not found.requires_grad
    assert not gradient.requires_grad


@pytest.mark.parametrize("rows_at_once", [1, 7, 20])
def test_step_gradients_do_not_depend_on_the_batch_size(ensemble, monkeypatch, rows_at_once):
    latents, targets = torch.randn(2, 4, 5, 3, 2, generator=seeded())
    actions = 2 * torch.rand(4, 5, 2, generator=seeded()) - 1
    whole = search_with(ensemble).step_gradient(latents, actions, targets)
    monkeypatch.setattr(Search, "rows_at_once", lambda self, gradients: rows_at_once)
    for parts, expected in zip(search_with(ensemble).step_gradient(latents, actions, targets), whole):
        torch.testing.assert_close(parts, expected)


def test_the_step_gradient_at_the_target_is_zero(point_model):
    latents, actions = torch.zeros(4, 3, 1, 2), random_plans(4, 3) / HIGH
    _, gradient = search_with(point_model()).step_gradient(latents, actions, (HIGH * actions).unsqueeze(2))
    torch.testing.assert_close(gradient, torch.zeros(4, 3, 2))


def test_normal_draws_are_standard_gaussians_that_all_tasks_share(point_model):
    drawn = search_with(point_model(), n=3).normal(12_000)
    assert drawn.shape == (3, 12_000, 5, 2)
    assert torch.equal(drawn, drawn[:1].expand_as(drawn))
    drawn = drawn[0]
    assert drawn.mean().abs() < 0.01
    assert drawn.std().item() == pytest.approx(1, rel=0.01)
    assert (drawn[..., 0] * drawn[..., 1]).mean().abs() < 0.02
    assert (drawn[:6000] * drawn[6000:]).mean().abs() < 0.02


def test_select_takes_each_tasks_own_sequences():
    candidates = torch.arange(2 * 3 * 2).view(2, 3, 2, 1)
    chosen = select(candidates, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(chosen, torch.stack((candidates[0, [2, 0]], candidates[1, [1, 1]])))


def test_perturbed_costs_are_means_over_the_copies_which_do_not_become_candidates(ensemble):
    search = search_with(ensemble, CAUTIOUS)
    candidates, noise = random_plans(4, 3, 5) / HIGH, 0.4 * search.normal(6)
    costs = search.perturbed_costs(candidates, noise)
    copies = HIGH * (candidates.unsqueeze(2) + noise.unsqueeze(1)).clamp(-1, 1)
    expected = [[objective_of(ensemble, CAUTIOUS, copies[:, k, p]) for p in range(6)] for k in range(3)]
    torch.testing.assert_close(costs, torch.stack([torch.stack(of).mean(0) for of in expected], 1))
    assert search.best_cost.isinf().all()


def test_choose_best_sets_the_best_of_all_unfinished_tasks(point_model):
    search = search_with(point_model())
    search.budget = search.budget._replace(target_cost=0.5)
    search.update_best(torch.zeros(4, 1, 5, 2), torch.tensor([[0.4], [0.6], [0.7], [0.8]]))
    candidates = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(4, 2, 5, 2)
    search.choose_best(candidates, torch.tensor([[0.1, 0.9]]).expand(4, 2), torch.tensor([[2.0, 1.0]]).expand(4, 2))
    assert search.best[:, 0, 0].tolist() == [0.0, -1.0, -1.0, -1.0]
    torch.testing.assert_close(search.best_cost, torch.tensor([0.4, 0.9, 0.9, 0.9]))


def test_choose_best_ignores_candidates_with_infinite_cost_or_criterion(point_model):
    inf = float("inf")
    search = offered([[0.4], [0.6], [0.7], [0.8]], search_with(point_model()))
    candidates = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(4, 2, 5, 2)
    costs = torch.tensor([[inf, 1.0], [inf, 1.0], [1.0, 2.0], [2.0, 1.0]])
    search.choose_best(candidates, costs, torch.tensor([[inf, inf], [1.0, 9.0], [9.0, 1.0], [1.0, inf]]))
    assert search.best[:, 0, 0].tolist() == [0.0, -1.0, -1.0, 1.0]
    torch.testing.assert_close(search.best_cost, torch.tensor([0.4, 1.0, 2.0, 2.0]))
