import json

import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.evaluation.comparison import compare, success_by_budget
from gapclose.evaluation.gap import HeldOut, measure_gap
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.cem import CEMPlanner
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Knots, PolicyRollouts
from gapclose.planning.mpc import MPC
from gapclose.planning.multistart import MultistartPlanner
from gapclose.planning.objective import Disagreement, GoalDistance, Objective
from gapclose.planning.planner import Plan


@pytest.fixture
def parts(wall, trajectories):
    tasks = wall.sample_tasks(6, torch.Generator().manual_seed(2))
    return dict(simulator=wall, held_out=HeldOut.of(tasks, trajectories, torch.device("cpu")), seed=0)


@pytest.fixture
def planners(wall):
    settings = dict(action_low=wall.action_low, action_high=wall.action_high, horizon=12)
    multistart = dict(num_samples=32, num_resamples=2, num_elites=4, num_starts=2)
    made = {
        "multistart": MultistartPlanner(**settings, **multistart, init=Knots(), iterations=3),
        "gradient": GradientPlanner(**settings, init=Knots(), iterations=4),
        "cem": CEMPlanner(**settings, num_samples=16, num_elites=4, iterations=5),
    }
    return {name: MPC(planner, replan_every=4) for name, planner in made.items()}


def objective(disagreement=0.0):
    return Objective(dict(goal=GoalDistance(), disagreement=Disagreement(disagreement)))


def test_all_planners_get_the_same_tasks_and_keep_their_order(parts, planners, ensemble):
    comparison, executions = compare(ensemble, planners, objective=objective(), **parts)
    assert list(comparison["planners"]) == list(executions) == ["multistart", "gradient", "cem"]
    for name, ways in executions.items():
        assert list(ways) == ["open_loop", "mpc"]
        for way, execution in ways.items():
            assert torch.equal(execution.tasks.start, parts["held_out"].tasks.start)
            assert torch.equal(execution.states[:, 0], parts["held_out"].tasks.start)
            assert comparison["planners"][name][way]["planner"] == name
            assert comparison["planners"][name][way]["num_tasks"] == 6
    json.dumps(comparison, allow_nan=False)


def test_a_planner_has_the_same_results_in_a_comparison_as_alone(parts, planners, ensemble):
    comparison, executions = compare(ensemble, planners, objective=objective(30.0), **parts)
    for name, mpc in planners.items():
        gap, alone = measure_gap(ensemble, mpc, objective=objective(30.0), planner_name=name, **parts)
        assert comparison["expert_error"] == gap["expert_error"]
        for way in ("open_loop", "mpc"):
            assert torch.equal(executions[name][way].actions, alone[way].actions)
            assert comparison["planners"][name][way]["model_calls"] == gap[way]["model_calls"]


def test_the_budget_ends_with_the_measured_success_and_its_seconds_increase(parts, planners, wall):
    comparison, _ = compare(OracleWorldModel(wall), planners, objective=objective(), **parts, ways=("open_loop",))
    for name, points in dict(multistart=2 + 1 + 3 + 1, gradient=4 + 1, cem=5 + 1).items():
        result = comparison["planners"][name]["open_loop"]
        seconds, rates = result["budget"]["seconds"], result["budget"]["success_rate"]
        assert len(seconds) == len(rates) == points
        assert seconds == sorted(seconds)
        assert seconds[0] > 0
        assert seconds[-1] <= result["planning_seconds"]
        assert rates[-1] == pytest.approx(result["success_rate"])


def test_the_budget_has_the_success_rate_after_each_iteration(wall):
    tasks = Tasks(torch.tensor([[0.5, 0.0], [0.5, 1.0]]), torch.tensor([[1.5, 0.0], [1.0, 1.0]]))
    right = torch.tensor([0.25, 0.0]).expand(2, 4, 2)
    actions = torch.stack((0 * right, right / 2, right))  # both stay; the second arrives; the first arrives
    plan = Plan(right, torch.zeros(2), right[:, None], torch.zeros(3), torch.tensor([0.5, 1.0, 2.0]), actions, 0, 2.0)
    assert success_by_budget(plan, wall, tasks) == {"seconds": [0.5, 1.0, 2.0], "success_rate": [0.0, 0.5, 0.5]}


@pytest.mark.parametrize("way", ["open_loop", "mpc"])
def test_only_the_requested_ways_are_executed(parts, planners, ensemble, way):
    comparison, executions = compare(ensemble, planners, objective=objective(), **parts, ways=(way,))
    for name in planners:
        assert list(executions[name]) == list(comparison["planners"][name]) == [way]
        assert ("budget" in comparison["planners"][name][way]) == (way == "open_loop")


def test_an_automatic_disagreement_weight_is_chosen_for_the_model_and_reported(parts, planners, ensemble):
    comparison, _ = compare(ensemble, planners, objective=objective("auto"), **parts, ways=("open_loop",))
    calibrated = objective("auto").calibrated(ensemble, parts["held_out"].validation.pieces(12))
    assert comparison["disagreement_weight"] == calibrated.weight("disagreement") != 0


def test_the_policy_alone_is_measured_if_planners_start_from_it(parts, planners, ensemble, wall):
    planners["gradient"].planner.init = PolicyRollouts()
    planners["gradient"].planner.init.policy = GoalConditionedPolicy(2, wall.action_low, wall.action_high, hidden_dim=4)
    compared = compare(ensemble, planners, objective=objective(), **parts)[0]["planners"]
    assert [list(ways) for ways in compared.values()] == [
        ["open_loop", "mpc"],
        ["open_loop", "open_loop_policy_alone", "mpc"],
        ["open_loop", "mpc"],
    ]
    gap, _ = measure_gap(ensemble, planners["gradient"], objective=objective(), planner_name="gradient", **parts)
    for result in (gap, compared["gradient"]):
        del result["open_loop_policy_alone"]["planning_seconds"]
    assert compared["gradient"]["open_loop_policy_alone"] == gap["open_loop_policy_alone"]
