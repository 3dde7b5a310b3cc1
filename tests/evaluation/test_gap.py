import json

import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.evaluation.gap import HeldOut, evaluate, measure_gap
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.adaptation import GradientAdaptation
from gapclose.planning.execution import Execution
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Knots, PolicyRollouts
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Disagreement, GoalDistance, Objective

GOAL = torch.tensor([[1.0, 0.0]])


def execution_of(final, errors=((),), promised=None, seconds=1.5):
    """Tasks with goal (1, 0) that end at `final`, with the given imagined-state errors in x at each executed step."""
    n, steps = len(final), max(len(e) for e in errors)
    states = torch.tensor(final).unsqueeze(1).repeat(1, steps + 1, 1)
    imagined, executed = states.clone(), torch.zeros(n, steps, dtype=torch.bool)
    for i, task_errors in enumerate(errors):
        executed[i, : len(task_errors)] = True
        imagined[i, 1 : 1 + len(task_errors), 0] += torch.tensor(task_errors)
        imagined[i, 1 + len(task_errors) :] += 100.0  # must not count
    goal = GOAL.repeat(n, 1)
    promised = goal if promised is None else torch.tensor(promised)
    tasks, actions = Tasks(states[:, 0], goal), torch.zeros(n, steps, 2)
    return Execution(tasks, actions, states, imagined, executed, promised, seconds, model_calls=120)


def test_the_metrics_are_those_computed_by_hand():
    execution = execution_of(
        final=[[1.0, 0.2], [1.0, -0.3], [0.0, 0.0]],
        errors=[(1.0, 2.0, 0.0), (2.0,), (0.0, 0.0)],
        promised=[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]],
    )
    metrics = evaluate(execution, Wall(success_radius=0.25), expert_error=0.05)
    assert metrics["num_tasks"] == 3
    assert metrics["success_rate"] == pytest.approx(1 / 3)
    assert metrics["goal_distance"] == pytest.approx((0.2 + 0.3 + 1.0) / 3)
    assert metrics["imagined_goal_distance"] == pytest.approx(0.1)
    assert metrics["exploitation"] == pytest.approx(0.5 - 0.1)
    # Six executed steps of two coordinates each; one of the coordinates is right everywhere.
    assert metrics["world_model_error"] == pytest.approx((1 + 4 + 4) / 6 / 2)
    # The plans' mean errors are 5/6, 2 and 0.
    assert metrics["world_model_error_median"] == pytest.approx(5 / 6)
    assert metrics["world_model_error_q90"] == pytest.approx(5 / 6 + 0.8 * (2 - 5 / 6))
    assert metrics["left_world_rate"] == pytest.approx(2 / 3)  # The first two are imagined beyond the border.
    assert metrics["train_test_gap"] == pytest.approx(0.75 / 0.05)
    assert metrics["planning_seconds"] == 1.5
    assert metrics["model_calls"] == 120


@pytest.mark.parametrize("expert_error", [None, 0.0])
def test_without_an_expert_error_there_is_no_ratio(expert_error):
    assert evaluate(execution_of([[1.0, 0.0]], [(1.0,)]), Wall(), expert_error)["train_test_gap"] is None


@pytest.mark.parametrize(
    ("successes", "n", "interval"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_of_the_success_rate_is_wilsons(successes, n, interval):
    final = [[1.0, 0.0]] * successes + [[-1.0, 1.0]] * (n - successes)
    metrics = evaluate(execution_of(final, [(0.0,)] * n), Wall())
    assert metrics["success_rate"] == successes / n
    assert metrics["success_rate_ci95"] == pytest.approx(interval, abs=5e-5)


def test_the_metrics_can_be_written_as_json():
    metrics = evaluate(execution_of([[1.0, 0.0]], [(1.0,)]), Wall(), 0.1)
    assert json.loads(json.dumps(metrics)) == metrics


def test_tasks_that_start_at_their_goal_have_no_nan_in_their_metrics():
    metrics = evaluate(execution_of([[1.0, 0.0]], [()]), Wall(), 0.1)
    json.dumps(metrics, allow_nan=False)


@pytest.fixture(scope="module")
def parts(trajectories):
    wall = Wall()
    tasks = wall.sample_tasks(4, torch.Generator().manual_seed(2))
    planner = GradientPlanner(
        action_low=wall.action_low, action_high=wall.action_high, init=Knots(), horizon=5, num_starts=2, iterations=2
    )
    held_out = HeldOut.of(tasks, trajectories, torch.device("cpu"))
    return dict(mpc=MPC(planner, replan_every=2), simulator=wall, held_out=held_out, planner_name="gradient")


def objective(disagreement):
    return Objective(dict(goal=GoalDistance(), disagreement=Disagreement(disagreement)))


def test_the_last_fifth_of_the_trajectories_is_held_out(parts, trajectories):
    held_out = parts["held_out"]
    assert torch.equal(held_out.validation.states, trajectories.states[16:18])
    assert torch.equal(held_out.test.actions, trajectories.actions[18:])


def test_a_gap_has_the_error_on_expert_data_and_the_metrics_of_every_way_to_execute(parts, ensemble):
    gap, executions = measure_gap(ensemble, objective=objective(0.0), seed=0, **parts)
    assert list(gap) == ["expert_error", "disagreement_weight", "open_loop", "mpc"]
    assert list(executions) == ["open_loop", "mpc"]
    windows = parts["held_out"].test.windows(torch.arange(30), 1)
    assert gap["expert_error"] == pytest.approx(ensemble.one_step_error(windows).item())
    for way, execution in executions.items():
        assert gap[way] == {"planner": "gradient", **evaluate(execution, parts["simulator"], gap["expert_error"])}
        assert gap[way]["train_test_gap"] == pytest.approx(gap[way]["world_model_error"] / gap["expert_error"])


@pytest.mark.parametrize("way", ["open_loop", "mpc"])
def test_a_single_way_has_the_same_results_as_among_others(parts, ensemble, way):
    _, both = measure_gap(ensemble, objective=objective(0.0), seed=0, **parts)
    gap, alone = measure_gap(ensemble, objective=objective(0.0), seed=0, ways=[way], **parts)
    assert list(alone) == [way]
    assert {"open_loop", "mpc"} & set(gap) == {way}
    assert torch.equal(alone[way].actions, both[way].actions)


def test_with_a_disagreement_term_open_loop_is_also_measured_without_it(parts, ensemble):
    _, penalised = measure_gap(ensemble, objective=objective(30.0), seed=0, **parts)
    _, free = measure_gap(ensemble, objective=objective(0.0), seed=0, **parts)
    assert list(penalised) == ["open_loop", "open_loop_without_disagreement", "mpc"]
    assert torch.equal(penalised["open_loop_without_disagreement"].actions, free["open_loop"].actions)
    assert not torch.equal(penalised["open_loop"].actions, free["open_loop"].actions)


def test_an_automatic_disagreement_weight_is_that_of_the_model_and_is_reported(parts, ensemble):
    weight = objective("auto").calibrated(ensemble, parts["held_out"].validation.pieces(5)).weight("disagreement")
    gap, executions = measure_gap(ensemble, objective=objective("auto"), seed=0, ways=["open_loop"], **parts)
    _, fixed = measure_gap(ensemble, objective=objective(weight), seed=0, ways=["open_loop"], **parts)
    assert gap["disagreement_weight"] == weight
    assert weight not in (0.0, 1.0)
    assert torch.equal(executions["open_loop"].actions, fixed["open_loop"].actions)


@pytest.mark.parametrize("weight", [0.0, 30.0])
def test_a_fixed_disagreement_weight_is_reported_too(parts, ensemble, weight):
    gap, _ = measure_gap(ensemble, objective=objective(weight), seed=0, ways=[], **parts)
    assert gap["disagreement_weight"] == weight


def test_mpc_is_measured_with_and_without_adaptation(parts, ensemble):
    mpc, wall = parts["mpc"], parts["simulator"]
    adapting = parts | dict(mpc=MPC(mpc.planner, replan_every=2, adaptation=GradientAdaptation(steps=3, lr=0.1)))
    gap, executions = measure_gap(ensemble, objective=objective(0.0), seed=0, **adapting)
    _, plain = measure_gap(ensemble, objective=objective(0.0), seed=0, ways=["mpc"], **parts)
    assert list(executions) == ["open_loop", "mpc", "mpc_adapted"]
    assert torch.equal(executions["mpc"].actions, plain["mpc"].actions)
    assert not torch.equal(executions["mpc_adapted"].actions, plain["mpc"].actions)
    assert gap["mpc"]["adaptation_seconds"] == 0 < gap["mpc_adapted"]["adaptation_seconds"]
    assert gap["mpc_adapted"]["adaptation_seconds"] < gap["mpc_adapted"]["planning_seconds"]
    oracle, _ = measure_gap(OracleWorldModel(wall), objective=objective(0.0), seed=0, **adapting)
    assert "mpc_adapted" not in oracle


def test_the_oracle_has_no_gap(parts):
    gap, _ = measure_gap(OracleWorldModel(parts["simulator"]), objective=objective(0.0), seed=0, **parts)
    assert gap["expert_error"] == 0
    for way in ("open_loop", "mpc"):
        assert gap[way]["world_model_error"] == 0
        assert gap[way]["train_test_gap"] is None
        if way == "open_loop":
            assert gap[way]["goal_distance"] == pytest.approx(gap[way]["imagined_goal_distance"])


def test_the_measurement_depends_only_on_the_seed(parts, ensemble):
    def measured(seed):
        _, executions = measure_gap(ensemble, objective=objective(0.0), seed=seed, **parts)
        return [execution.states for execution in executions.values()]

    first = measured(0)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, measured(0)))
    assert not any(torch.equal(a, b) for a, b in zip(first, measured(1)))


def test_a_policy_that_planners_start_from_is_measured_alone_too(parts, ensemble):
    wall, init = parts["simulator"], PolicyRollouts()
    init.policy = GoalConditionedPolicy(2, wall.action_low, wall.action_high, hidden_dim=4)
    planner = GradientPlanner(
        action_low=wall.action_low, action_high=wall.action_high, init=init, horizon=5, iterations=2
    )
    gap, executions = measure_gap(ensemble, objective=objective(0.0), seed=0, **parts | dict(mpc=MPC(planner)))
    assert list(executions) == ["open_loop", "open_loop_policy_alone", "mpc"]
    alone, tasks = executions["open_loop_policy_alone"], parts["held_out"].tasks
    state = ensemble.encode(tasks.start)
    for t in range(5):
        expected = wall.action_high * init.policy(ensemble.decode(state), tasks.goal).clamp(-1, 1)
        torch.testing.assert_close(alone.actions[:, t], expected)
        state = ensemble.step(state, expected)
    assert gap["open_loop_policy_alone"] == {"planner": "gradient", **evaluate(alone, wall, gap["expert_error"])}
    _, in_mpc = measure_gap(ensemble, objective=objective(0.0), seed=0, ways=["mpc"], **parts | dict(mpc=MPC(planner)))
    assert list(in_mpc) == ["mpc"]
