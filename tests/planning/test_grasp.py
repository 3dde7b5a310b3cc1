import pytest
import torch

from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.initialization import Normal, Zeros
from tests.planning.conftest import (
    CAUTIOUS,
    EVERY_STEP,
    HIGH,
    LAST_STEP,
    make,
    objective_of,
    plan,
    random_plans,
    search_with,
    seeded,
)


def grasp(**changes):
    return make("grasp", **dict(init=Zeros()) | changes)


QUIET = dict(state_noise=0.0, state_init_std=0.0, num_starts=1)
"""Settings without noise, so that the lifted states are known."""


def test_it_finds_paths_through_the_door_where_descent_from_the_same_start_does_not():
    wall = Wall()
    start, goal = wall.sample_tasks(20, seeded(1))
    bounds = dict(low=wall.action_low, high=wall.action_high, init=Normal(), horizon=30, num_starts=1)
    planners = dict(
        grasp=make("grasp", **bounds, iterations=12, lifted_steps=10, sync_steps=5),
        gradient=make("gradient", **bounds, iterations=60),
    )
    reached = {}
    for name, planner in planners.items():
        made = planner.plan(OracleWorldModel(wall), LAST_STEP, start, goal, generator=seeded(1))
        reached[name] = wall.success(wall.rollout(start, made.actions)[:, -1], goal).float().mean().item()
    assert reached["grasp"] >= reached["gradient"] + 0.3, reached


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    made = plan(grasp(lifted_steps=10, sync_steps=5, iterations=15, horizon=9), point_model(), LAST_STEP)
    assert made.cost.max() < 0.01


def test_the_first_states_are_on_the_line_from_start_to_goal(ensemble):
    search = search_with(ensemble, steps=4)
    line = grasp(num_starts=3).line(search)
    assert line.shape == (4, 3, 4, 3, 2)
    for t in range(4):
        expected = search.start + (t + 1) / 4 * (search.goal - search.start)
        torch.testing.assert_close(line[:, :, t], expected[:, None].expand(4, 3, 3, 2))


def test_the_search_begins_with_noisy_states_around_the_line_that_end_at_the_goal(point_model):
    search, seen = search_with(point_model(), iterations=1), []
    planner = grasp(num_starts=3, state_init_std=0.5)
    planner.lift = lambda search, actions, states: (seen.append(states), (actions, states))[1]
    planner.search(search, None)
    same = search_with(point_model())
    expected = planner.line(same) + 0.5 * planner.noise(same)
    torch.testing.assert_close(seen[0][:, :, :-1], expected[:, :, :-1])
    torch.testing.assert_close(seen[0][:, :, -1], search.goal.unsqueeze(1).expand(4, 3, 1, 2))


@pytest.mark.parametrize("width", [0.0, 1.0, 4.0])
def test_noise_has_variance_1_at_every_step_and_is_the_same_for_all_tasks_and_members(ensemble, width):
    search = search_with(ensemble, n=3, steps=12)
    noise = grasp(num_starts=10_000, noise_width=width).noise(search)
    assert noise.shape == (3, 10_000, 12, 1, 2)
    assert torch.equal(noise, noise[:1].expand_as(noise))
    noise = noise[0]
    variance = noise.var(0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=0.06, rtol=0)
    assert noise.mean().abs() < 0.03
    neighbours = (noise[:, 5] * noise[:, 6]).mean().item()
    # The correlation of two kernels of width w at a distance of one step is exp(-1 / (4 w²)).
    expected = torch.tensor(-1 / (4 * width**2)).exp().item() if width else 0.0
    assert neighbours == pytest.approx(expected, abs=0.03)
    assert (noise[..., 0] * noise[..., 1]).mean().abs() < 0.03
    assert (noise[:5000] * noise[5000:]).mean().abs() < 0.03


def test_states_move_toward_their_predictions_and_the_last_is_the_goal(point_model):
    model = point_model()
    search = search_with(model)
    actions = random_plans(4, 1, 5) / HIGH
    states = torch.randn(4, 1, 5, 1, 2, generator=seeded())
    states[:, :, -1] = search.goal.unsqueeze(1)
    _, lifted = grasp(**QUIET, lifted_steps=1, state_rate=0.25).lift(search, actions, states)
    before = torch.cat((search.start[:, None, None], states[:, :, :-1]), 2)
    predicted = before + (HIGH * actions).unsqueeze(3)
    expected = states + 0.25 * (predicted - states)
    torch.testing.assert_close(lifted[:, :, :-1], expected[:, :, :-1])
    torch.testing.assert_close(lifted[:, :, -1], search.goal.unsqueeze(1))


def test_actions_move_toward_the_next_state_and_the_goal(point_model):
    """The first step of Adam has the length of the learning rate, toward a weighted mean of next state and goal."""
    search = search_with(point_model())
    states = torch.randn(4, 1, 5, 1, 2, generator=seeded())
    before = torch.cat((search.start[:, None, None], states[:, :, :-1]), 2)
    for weight in (0.0, 0.5, 1000.0):
        moved, _ = grasp(**QUIET, lifted_steps=1, lr=0.1, goal_weight=weight).lift(
            search, torch.zeros(4, 1, 5, 2), states
        )
        target = (states + weight * search.goal[:, None, None]) / (1 + weight)
        expected = 0.1 * (target - before).squeeze(3).sign()
        torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)


def test_no_gradient_passes_through_the_states(point_model):
    """Effects of an action on later steps do not count, so the actions of consistent steps do not change."""
    search = search_with(point_model())
    actions = random_plans(4, 1, 5) / HIGH
    before = search.start[:, None, None] + torch.cat(
        (torch.zeros(4, 1, 1, 1, 2), (HIGH * actions).cumsum(2).unsqueeze(3)[:, :, :-1]), 2
    )
    states = before + (HIGH * actions).unsqueeze(3)
    states[:, :, -1] += 7.0
    moved, _ = grasp(**QUIET, lifted_steps=1, lr=0.1, goal_weight=0.0).lift(search, actions, states)
    inside = actions.abs() < 0.85
    steps = (moved - actions).abs()
    assert steps[:, :, -1][inside[:, :, -1]].min() > 0.09
    # Rounding leaves a small residual; a larger epsilon makes Adam ignore it.
    assert steps[:, :, :-1].median() < 0.1


def test_noise_on_the_states_falls_to_zero_by_the_end_of_an_iteration(point_model):
    search = search_with(point_model())
    planner = grasp(num_starts=1, lifted_steps=5, state_noise=0.4, state_rate=0.0)
    planner.noise = lambda search: torch.ones(4, 1, 5, 1, 1)
    states = torch.zeros(4, 1, 5, 1, 2)
    _, lifted = planner.lift(search, torch.zeros(4, 1, 5, 2), states)
    # If the noise is always 1 and nothing else changes the states, its scales 0.4 · (1, 3/4, 1/2, 1/4, 0) sum to 1.
    torch.testing.assert_close(lifted[:, :, :-1], torch.ones(4, 1, 4, 1, 2))


def test_synchronisation_descends_on_the_cost_of_the_rollout(point_model):
    actions = random_plans(4, 2, 5) / HIGH / 2
    search = search_with(point_model())
    before = search.score(actions)
    descended = grasp(sync_steps=5, lr=0.02).synchronise(search, actions)
    assert (search_with(point_model()).score(descended) < before).all()
    once = grasp(sync_steps=1, lr=0.02).synchronise(search, actions)
    torch.testing.assert_close((once - actions).abs(), torch.full_like(actions, 0.02), atol=1e-4, rtol=0)
    assert torch.equal(grasp(sync_steps=0).synchronise(search, actions), actions)


def test_lift_and_synchronise_do_not_change_their_arguments(point_model):
    search = search_with(point_model())
    actions, states = random_plans(4, 2, 5) / HIGH, torch.randn(4, 2, 5, 1, 2, generator=seeded())
    before = actions.clone(), states.clone()
    planner = grasp()
    planner.lift(search, actions, states)
    planner.synchronise(search, actions)
    assert torch.equal(actions, before[0])
    assert torch.equal(states, before[1])


def test_a_single_update_per_iteration_and_no_synchronisation_are_enough_to_plan(point_model):
    made = plan(grasp(lifted_steps=1, sync_steps=0), point_model(), EVERY_STEP)
    assert made.cost.isfinite().all()
    assert made.actions.abs().max() > 0


def test_each_start_is_an_independent_search(point_model):
    one, four = (
        plan(grasp(init=Normal(), num_starts=k, iterations=2), point_model(), EVERY_STEP, n=30).cost.mean()
        for k in (1, 8)
    )
    assert four < one


def test_calls_of_the_model_are_counted_forward_and_backward(ensemble):
    made = plan(grasp(), ensemble, CAUTIOUS)
    rows = 4 * 2 * 5
    assert made.model_calls == rows * (1 + 4 * ((3 + 2) * 2 + 1))


def test_states_with_nan_predictions_do_not_end_the_search(point_model):
    class Ignorant(point_model):
        def step(self, latent, action):
            return super().step(latent.where(latent.abs() < 1.5, torch.nan), action)

    made = plan(grasp(num_starts=1, iterations=10), Ignorant(), LAST_STEP)
    resting = objective_of(point_model(), LAST_STEP, torch.zeros(4, 5, 2))
    assert (made.cost < 0.2 * resting).all()
