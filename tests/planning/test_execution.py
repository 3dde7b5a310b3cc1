import math

import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.execution import Execution, error_quantiles, execute_open_loop, execute_plan
from gapclose.planning.planner import Planner
from tests.planning.conftest import LAST_STEP, make, seeded


class Scripted(Planner):
    """Always returns the given plan, in units of the action bounds."""

    def __init__(self, actions, bound=0.25):
        super().__init__(torch.full((2,), -bound), torch.full((2,), bound), horizon=actions.shape[1])
        self.actions = actions

    def search(self, search, warm_start):
        search.score(self.actions.unsqueeze(1))


def right(n, steps):
    """Full speed to the right."""
    return torch.tensor([1.0, 0.0]).expand(n, steps, 2)


def test_an_execution_has_the_simulated_and_the_imagined_states_of_the_plan(wall, point_model):
    tasks = Tasks(torch.tensor([[-1.0, 1.0], [0.5, 0.0]]), torch.tensor([[1.0, 1.0], [1.5, 0.0]]))
    execution = execute_open_loop(Scripted(right(2, 6)), wall, point_model(), LAST_STEP, tasks)
    # The model ignores the wall: in its imagination, the first task goes through it.
    torch.testing.assert_close(execution.imagined[0, :, 0], -1 + 0.25 * torch.arange(7))
    torch.testing.assert_close(execution.states[0, -1], torch.tensor([-wall.settings["wall_thickness"] / 2, 1.0]))
    torch.testing.assert_close(execution.states[1, :, 0], (0.5 + 0.25 * torch.arange(7)))
    torch.testing.assert_close(execution.promised, torch.tensor([[0.5, 1.0], [2.0, 0.0]]))
    assert torch.equal(execution.actions, 0.25 * right(2, 6))
    assert execution.tasks is tasks
    assert execution.seconds > 0


def test_open_loop_executes_every_step_even_past_the_goal(wall):
    tasks = Tasks(torch.tensor([[0.2, 0.0]]), torch.tensor([[0.7, 0.0]]))
    execution = execute_open_loop(Scripted(right(1, 6)), wall, OracleWorldModel(wall), LAST_STEP, tasks)
    assert execution.executed.all()
    assert wall.success(execution.states[:, 2], tasks.goal).all()
    assert not wall.success(execution.states[:, -1], tasks.goal).any()


def test_the_oracle_imagines_the_simulated_states(wall):
    tasks = wall.sample_tasks(5, seeded())
    planner = make("multistart", wall.action_low, wall.action_high, horizon=12)
    execution = execute_open_loop(planner, wall, OracleWorldModel(wall), LAST_STEP, tasks, seeded())
    assert execution.states.shape == execution.imagined.shape == (5, 13, 2)
    assert execution.squared_errors().max() == 0
    assert torch.equal(execution.promised, execution.states[:, -1])
    assert torch.equal(execution.states, wall.rollout(tasks.start, execution.actions))


def test_the_execution_depends_only_on_the_generator(wall, ensemble):
    tasks = wall.sample_tasks(3, seeded())
    planner = make("gradient", wall.action_low, wall.action_high)

    def states(seed):
        return execute_open_loop(planner, wall, ensemble, LAST_STEP, tasks, seeded(seed)).states

    assert torch.equal(states(0), states(0))
    assert not torch.equal(states(0), states(1))
    assert not states(0).requires_grad


def test_an_execution_reports_the_cost_of_planning(wall, ensemble):
    tasks = wall.sample_tasks(3, seeded())
    planner = make("cem", wall.action_low, wall.action_high)
    plan = planner.plan(ensemble, LAST_STEP, tasks.start, tasks.goal, generator=seeded())
    execution = execute_plan(plan, wall, ensemble, tasks)
    assert execution.model_calls == plan.model_calls == 3 * 5 * (1 + 4 * 8)
    assert execution.seconds == plan.seconds
    again = execute_open_loop(planner, wall, ensemble, LAST_STEP, tasks, seeded())
    assert again.model_calls == plan.model_calls
    assert torch.equal(again.states, execution.states)
    assert torch.equal(again.imagined, execution.imagined)


def test_squared_errors_are_means_over_coordinates_and_nan_where_nothing_was_executed():
    states, imagined = torch.zeros(2, 4, 2), torch.zeros(2, 4, 2)
    imagined[0, 1] = torch.tensor([1.0, 3.0])
    imagined[0, 3] = torch.tensor([0.0, 2.0])
    imagined[1, 2] = 5.0
    executed = torch.tensor([[True, True, True], [True, False, False]])
    nothing = torch.zeros(2, 2)
    errors = Execution(
        Tasks(nothing, nothing), torch.zeros(2, 3, 2), states, imagined, executed, nothing, 0.0, 0
    ).squared_errors()
    assert errors[0].tolist() == [5.0, 0.0, 2.0]
    assert errors[1, 0] == 0
    assert errors[1, 1:].isnan().all()
    assert errors.nanmean().item() == pytest.approx(7 / 4)


def execution_with(imagined, executed=None):
    """An execution of one plan for each row of imagined states, where the agent stays at the origin."""
    imagined = torch.as_tensor(imagined)
    n, length, _ = imagined.shape
    executed, nothing = torch.ones(n, length - 1, dtype=torch.bool) if executed is None else executed, torch.zeros(n, 2)
    states, actions = torch.zeros_like(imagined), torch.zeros(n, length - 1, 2)
    return Execution(Tasks(nothing, nothing), actions, states, imagined, executed, nothing, 0.0, 0)


def test_the_error_of_a_plan_is_the_mean_over_its_executed_steps():
    executed = torch.tensor([[True, True], [True, False], [False, False]])
    errors = execution_with([[[0.0, 0], [2, 0], [0, 4]]] * 3, executed).plan_errors()
    assert errors[:2].tolist() == [(2 + 8) / 2, 2]
    assert errors[2].isnan()


def test_a_plan_leaves_the_world_where_an_executed_step_is_imagined_clearly_outside(wall):
    edge = wall.state_high[0].item()
    width = edge - wall.state_low[0].item()
    ends = [0.0, edge, edge + 0.009 * width, edge + 0.011 * width, -edge - 0.1 * width, math.inf, math.nan]
    imagined = [[[0.0, 0.0], [end, 0.0], [0.0, 0.0]] for end in ends]
    assert execution_with(imagined).leaves_world(wall).tolist() == [False, False, False, True, True, True, True]
    unexecuted = torch.tensor([[False, True]]).expand(len(ends), 2)
    assert not execution_with(imagined, unexecuted).leaves_world(wall).any()


def test_quantiles_of_errors_are_those_of_the_tasks_that_have_one():
    errors = torch.cat((torch.arange(11.0), torch.tensor([math.nan])))[torch.randperm(12, generator=seeded())]
    assert error_quantiles(errors) == {"world_model_error_median": 5, "world_model_error_q90": 9}
    assert error_quantiles(torch.tensor([1.0, 2.0, math.inf, math.inf, math.inf])) == {
        "world_model_error_median": math.inf,
        "world_model_error_q90": math.inf,
    }
    assert set(error_quantiles(torch.tensor([math.nan])).values()) == {None}
