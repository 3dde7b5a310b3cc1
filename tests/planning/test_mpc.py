"""Plans made again and again on the way: how long they are, what they begin with, and when they end."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.initialization import Knots
from gapclose.planning.mpc import MPC
from tests.planning.conftest import KINDS, make, seeded
from tests.planning.walking import BOUND, BOUNDS, Walker, run, tasks


def test_replanning_starts_from_the_real_state_not_from_the_imagined_one(point_model):
    planner = Walker(horizon=9)
    execution = run(planner, point_model(gain=0.5), tasks(3.0, 3.6), replan_every=3, max_steps=9)
    assert len(planner.calls) == 3
    for number, (start, goal, _, _) in enumerate(planner.calls):
        assert torch.equal(start, execution.states[:, 3 * number])
        assert torch.equal(goal, execution.tasks.goal)
    assert (execution.states[:, 3] - execution.imagined[:, 3]).norm(dim=-1).min() > 0.3


def test_imagined_states_start_from_the_real_state_at_which_the_plan_was_made(point_model):
    execution = run(Walker(horizon=9), point_model(gain=0.5), tasks(3.0, 3.6), replan_every=3, max_steps=9)
    for t in range(9):
        planned_at = t - t % 3
        by_hand = execution.states[:, planned_at] + 0.5 * execution.actions[:, planned_at : t + 1].sum(1)
        torch.testing.assert_close(execution.imagined[:, t + 1], by_hand)
    assert torch.equal(execution.imagined[:, 0], execution.tasks.start)


def test_the_promised_state_is_the_predicted_end_of_the_last_plan(point_model):
    planner = Walker(horizon=9, speed=0.1)
    execution = run(planner, point_model(gain=0.5), tasks(3.0, 0.1), replan_every=3, max_steps=6)
    # The first task replans after three steps, for six more; the second starts at its goal.
    way = 0.5 * 0.1 * BOUND * (1 - torch.arange(6) / 100).sum()
    torch.testing.assert_close(execution.promised[0], execution.states[0, 3] + torch.stack((torch.tensor(0.0), way)))
    assert torch.equal(execution.promised[1], execution.tasks.start[1])


def test_states_follow_from_the_actions_in_the_simulator(ensemble):
    wall = Wall()
    drawn = wall.sample_tasks(6, seeded(1))
    execution = run(Walker(horizon=6), ensemble, drawn, wall, replan_every=2, max_steps=9)
    assert execution.states.shape == execution.imagined.shape == (6, 10, 2)
    assert execution.actions.shape == (6, 9, 2)
    assert execution.executed.shape == (6, 9)
    for t in range(9):
        moved = wall.step(execution.states[:, t], execution.actions[:, t])
        going = execution.executed[:, t]
        assert torch.equal(execution.states[going, t + 1], moved[going])
    assert execution.seconds > 0


def test_tasks_that_have_arrived_stop_while_the_others_continue(point_model):
    planner = Walker(horizon=12)
    # Distances at which 0, 2, 5 and 11 steps of at most 0.25 come within the radius of 0.25.
    execution = run(planner, point_model(), tasks(0.2, 0.7, 1.4, 2.9), replan_every=4, max_steps=12)
    assert execution.executed.sum(1).tolist() == [0, 2, 5, 11]
    for i, steps in enumerate(execution.executed.sum(1).tolist()):
        assert execution.executed[i, :steps].all()
        assert (execution.actions[i, steps:] == 0).all()
        assert (execution.states[i, steps:] == execution.states[i, steps]).all()
        assert Wall().success(execution.states[i, steps], execution.tasks.goal[i])
        if steps:
            assert not Wall().success(execution.states[i, steps - 1], execution.tasks.goal[i])
    # Only tasks that have not arrived are planned for.
    assert [len(start) for start, _, _, _ in planner.calls] == [3, 2, 1]
    assert planner.calls[1][1].tolist() == execution.tasks.goal[2:].tolist()
    assert execution.squared_errors().isnan().sum(1).tolist() == [12, 10, 7, 1]


def test_a_plan_starts_from_the_rest_of_the_last_one(point_model):
    planner = Walker(horizon=9)
    execution = run(planner, point_model(), tasks(0.4, 3.7), replan_every=3, max_steps=9)
    assert planner.calls[0][3] is None
    # The first task has arrived by then, so the remaining plan is that of the second.
    heading = (execution.tasks.goal - execution.tasks.start)[1:].sign()
    left = heading.unsqueeze(1) * (1 - torch.arange(3, 9) / 100)[:, None]
    torch.testing.assert_close(planner.calls[1][3], torch.stack((left, torch.zeros(1, 6, 2)), 1))


def test_plans_shrink_to_the_deadline_and_then_have_full_length_again(point_model):
    planner = Walker(horizon=10, speed=0.1)
    execution = run(planner, point_model(), tasks(3.5), replan_every=5, max_steps=25)
    assert planner.lengths == [10, 5, 10, 5, 10]
    assert [warm is None for _, _, _, warm in planner.calls] == [True, False, True, False, True]
    assert execution.executed.sum() == 25


@pytest.mark.parametrize(("replan_every", "max_steps"), [(5, 7), (5, 3), (4, 10), (1, 3), (10, 10), (10, 15)])
def test_exactly_max_steps_are_executed_where_the_horizon_is_not_reached_in_between(
    point_model, replan_every, max_steps
):
    horizon = 20 if max_steps % replan_every else 10
    planner = Walker(horizon=horizon, speed=0.1)
    execution = run(planner, point_model(), tasks(3.5, 3.0), replan_every=replan_every, max_steps=max_steps)
    assert execution.actions.shape[1] == max_steps
    assert execution.executed.all()


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 30))
def test_a_task_that_does_not_arrive_executes_exactly_max_steps(horizon, replan_every, max_steps):
    wall = Wall(action_max=BOUND)
    planner = Walker(horizon=horizon, speed=0.1)
    execution = run(planner, OracleWorldModel(wall), tasks(3.5), replan_every=replan_every, max_steps=max_steps)
    assert execution.executed.sum() == execution.executed.numel() == max_steps
    assert max(planner.lengths) <= horizon


def test_a_fixed_horizon_always_plans_a_full_horizon(point_model):
    planner = Walker(horizon=10, speed=0.1)
    execution = run(planner, point_model(), tasks(3.5), replan_every=4, max_steps=14, horizon="fixed")
    assert planner.lengths == [10, 10, 10, 10]
    assert [warm is None for _, _, _, warm in planner.calls] == [True, False, False, False]
    assert execution.executed.sum() == 14


def test_a_fixed_horizon_repeats_the_last_action_for_the_missing_steps(point_model):
    planner = Walker(horizon=9)
    run(planner, point_model(), tasks(3.7), replan_every=3, max_steps=9, horizon="fixed")
    left = 1 - torch.tensor([3, 4, 5, 6, 7, 8, 8, 8, 8]) / 100
    passed_on = planner.calls[1][3]
    torch.testing.assert_close(passed_on[0, 0], left[:, None] * torch.tensor([0.0, 1.0]))
    assert torch.equal(passed_on[0, 1], torch.zeros(9, 2))


def test_a_fixed_horizon_may_be_shorter_than_the_steps_between_plans(point_model):
    planner = Walker(horizon=3, speed=0.1)
    execution = run(planner, point_model(), tasks(3.5), replan_every=5, max_steps=8, horizon="fixed")
    assert planner.lengths == [3, 3, 3]
    torch.testing.assert_close(planner.calls[1][3][0, 0, :, 1], torch.full((3,), 0.1 * 0.98))
    assert execution.executed.sum() == 8


@pytest.mark.parametrize("horizon", ["shrinking", "fixed"])
def test_every_planner_controls_with_either_horizon(ensemble, kind, horizon):
    wall = Wall()
    drawn = wall.sample_tasks(3, seeded(1))
    planner = make(kind, wall.action_low, wall.action_high, horizon=6, init=Knots(), iterations=2)
    execution = run(planner, ensemble, drawn, wall, replan_every=2, max_steps=8, horizon=horizon)
    assert execution.states.shape == (3, 9, 2)
    assert (execution.actions.abs() <= wall.action_max).all()
    assert execution.states.isfinite().all()


def test_elites_of_a_plan_are_candidates_in_the_next(ensemble):
    """The next plan gets the rest of all elites of iCEM, in the simulator's units."""
    planner, plans, warm_starts = make("icem", *BOUNDS, horizon=6), [], []
    original = planner.plan

    def spy(world_model, objective, start, goal, warm_start, generator):
        warm_starts.append(warm_start)
        plans.append(original(world_model, objective, start, goal, warm_start, generator))
        return plans[-1]

    planner.plan = spy
    run(planner, ensemble, tasks(3.0, 3.5), replan_every=2, max_steps=6)
    assert warm_starts[0] is None
    for made, passed_on in zip(plans, warm_starts[1:]):
        assert made.elites.shape[1] == 2
        assert torch.equal(passed_on, made.elites[:, :, 2:])


def test_calls_of_the_model_and_seconds_add_up_over_the_plans(point_model):
    planner = make("cem", *BOUNDS, horizon=10)
    original, spent = planner.plan, []

    def spy(*inputs):
        made = original(*inputs)
        spent.append(made.seconds)
        return made

    planner.plan = spy
    execution = run(planner, point_model(), tasks(3.5, 3.6), replan_every=4, max_steps=10)
    # Ten steps, then the remaining six and two.
    assert execution.model_calls == 2 * (10 + 6 + 2) * (1 + 4 * 8)
    assert len(spent) == 3
    assert execution.seconds == pytest.approx(sum(spent))
    none = run(planner, point_model(), tasks(0.0))
    assert (none.model_calls, none.seconds) == (0, 0.0)


def test_no_calls_are_made_for_tasks_that_have_arrived(point_model):
    planner = Walker(horizon=12)
    execution = run(planner, point_model(), tasks(0.2, 0.7, 1.4, 2.9), replan_every=4, max_steps=12)
    assert execution.model_calls == 3 * 12 + 2 * 8 + 1 * 4


def test_two_horizons_are_executed_by_default(point_model):
    assert run(Walker(horizon=5, speed=0.1), point_model(), tasks(3.5)).executed.shape == (1, 10)


PLANNERS = dict(walker=Walker(6)) | {kind: make(kind, *BOUNDS, horizon=6, iterations=2) for kind in KINDS}
PLANNERS["perturbed"] = make("multistart", *BOUNDS, horizon=6, iterations=2, num_perturbations=3, perturbation=0.1)


@pytest.mark.parametrize("planner", PLANNERS.values(), ids=PLANNERS)
def test_tasks_that_start_at_their_goals_execute_no_steps(ensemble, planner):
    at_goal = tasks(0.0, 0.1)
    execution = run(planner, ensemble, at_goal, replan_every=3)
    assert not execution.executed.any()
    assert (execution.states == at_goal.start.unsqueeze(1)).all()
    assert (execution.imagined == at_goal.start.unsqueeze(1)).all()
    assert torch.equal(execution.promised, at_goal.start)
    assert execution.states.shape[1] == execution.actions.shape[1] + 1 == execution.executed.shape[1] + 1


@pytest.mark.parametrize("planner", PLANNERS.values(), ids=PLANNERS)
def test_the_oracle_imagines_the_simulated_states(planner):
    wall = Wall()
    drawn = wall.sample_tasks(5, seeded(1))
    execution = run(planner, OracleWorldModel(wall), drawn, wall, replan_every=3, max_steps=12)
    assert execution.squared_errors().nanmean() == 0


def test_it_goes_through_the_door_with_the_true_dynamics():
    wall = Wall()
    drawn = wall.sample_tasks(12, seeded(1))
    settings = dict(horizon=30, init=Knots(), num_samples=64, num_elites=8, num_resamples=3, iterations=10)
    planner = make("multistart", wall.action_low, wall.action_high, **settings)
    execution = run(planner, OracleWorldModel(wall), drawn, wall, replan_every=10)
    assert wall.success(execution.states[:, -1], drawn.goal).float().mean() >= 0.75


@pytest.mark.parametrize("name", KINDS)
def test_the_execution_depends_only_on_the_generator(ensemble, name):
    wall = Wall()
    drawn = wall.sample_tasks(3, seeded(1))
    first, second = (run(PLANNERS[name], ensemble, drawn, wall, replan_every=3, max_steps=6).states for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


@pytest.mark.parametrize(
    "wrong",
    [dict(replan_every=0), dict(max_steps=0), dict(max_steps=-5), dict(replan_every=2.5), dict(horizon="receding")],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MPC(Walker(5), **wrong)


def test_a_compiled_model_is_not_compiled_again_in_mpc(compiled, kind):
    model, graphs = compiled
    planner = make(kind, *BOUNDS, horizon=6, iterations=2)
    run(planner, model, tasks(3.0, 3.5, 0.6), replan_every=2, max_steps=8)
    run(planner, model, tasks(3.0), replan_every=5, max_steps=6)
    assert graphs.frame_count == 0


@pytest.mark.parametrize("target_cost", [None, 0.3])
def test_the_execution_of_a_task_does_not_depend_on_the_others(kind, target_cost):
    """The other tasks arrive earlier or later, and leave the batch."""
    wall, together = Wall(), tasks(1.5, 3.5, 2.5, 0.1)
    planner = make(kind, wall.action_low, wall.action_high, horizon=12, iterations=2, target_cost=target_cost)
    settings = dict(wall=wall, replan_every=3, max_steps=15)
    states = run(planner, OracleWorldModel(wall), together, **settings).states
    for i in range(4):
        alone = run(planner, OracleWorldModel(wall), Tasks(*(x[i : i + 1] for x in together)), **settings).states
        torch.testing.assert_close(alone[0], states[i, : alone.shape[1]], atol=1e-4, rtol=0)
