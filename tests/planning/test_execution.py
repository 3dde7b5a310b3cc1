import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.execution import Execution, execute_open_loop
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.objective import GoalDistance, Objective
from gapclose.planning.planner import Planner

OBJECTIVE = Objective(dict(goal=GoalDistance("last")))


class Scripted(Planner):
    """Plans what it was told to, in units of the action bounds."""

    def __init__(self, actions, bound=0.25):
        super().__init__(actions.shape[1], torch.full((2,), -bound), torch.full((2,), bound))
        self.actions = actions

    def search(self, problem, warm_start, generator):
        return self.actions, problem.cost(self.actions)[None]


def right(n, steps):
    """Full speed to the right."""
    return torch.tensor([1.0, 0.0]).expand(n, steps, 2)


def test_what_is_executed_is_the_plan_in_the_simulator_beside_what_the_model_imagined(wall, point_model):
    tasks = Tasks(torch.tensor([[-1.0, 1.0], [0.5, 0.0]]), torch.tensor([[1.0, 1.0], [1.5, 0.0]]))
    execution = execute_open_loop(Scripted(right(2, 6)), wall, point_model(), OBJECTIVE, tasks)
    # The model knows no wall: it imagines that the first task walks through.
    torch.testing.assert_close(execution.imagined[0, :, 0], -1 + 0.25 * torch.arange(7))
    torch.testing.assert_close(execution.states[0, -1], torch.tensor([-wall.settings["wall_thickness"] / 2, 1.0]))
    torch.testing.assert_close(execution.states[1, :, 0], (0.5 + 0.25 * torch.arange(7)))
    torch.testing.assert_close(execution.promised, torch.tensor([[0.5, 1.0], [2.0, 0.0]]))
    assert torch.equal(execution.actions, 0.25 * right(2, 6))
    assert execution.tasks is tasks
    assert execution.seconds > 0


def test_open_loop_executes_every_step_blindly_also_past_the_goal(wall):
    tasks = Tasks(torch.tensor([[0.2, 0.0]]), torch.tensor([[0.7, 0.0]]))
    execution = execute_open_loop(Scripted(right(1, 6)), wall, OracleWorldModel(wall), OBJECTIVE, tasks)
    assert execution.executed.all()
    assert wall.success(execution.states[:, 2], tasks.goal).all()
    assert not wall.success(execution.states[:, -1], tasks.goal).any()


def test_the_oracle_imagines_what_happens(wall):
    tasks = wall.sample_tasks(5, torch.Generator().manual_seed(0))
    planner = GradientPlanner(wall.action_low, wall.action_high, horizon=12, num_starts=8, iterations=3)
    execution = execute_open_loop(
        planner, wall, OracleWorldModel(wall), OBJECTIVE, tasks, torch.Generator().manual_seed(0)
    )
    assert execution.states.shape == execution.imagined.shape == (5, 13, 2)
    assert execution.squared_errors().max() == 0
    assert torch.equal(execution.promised, execution.states[:, -1])
    assert torch.equal(execution.states, wall.rollout(tasks.start, execution.actions))


def test_the_generator_alone_decides_the_execution(wall, ensemble):
    tasks = wall.sample_tasks(3, torch.Generator().manual_seed(0))
    planner = GradientPlanner(wall.action_low, wall.action_high, horizon=5, num_starts=8, iterations=2)

    def states(seed):
        generator = torch.Generator().manual_seed(seed)
        return execute_open_loop(planner, wall, ensemble, OBJECTIVE, tasks, generator).states

    assert torch.equal(states(0), states(0))
    assert not torch.equal(states(0), states(1))
    assert not states(0).requires_grad


def test_squared_errors_are_means_over_coordinates_and_missing_where_nothing_was_executed():
    states, imagined = torch.zeros(2, 4, 2), torch.zeros(2, 4, 2)
    imagined[0, 1] = torch.tensor([1.0, 3.0])
    imagined[0, 3] = torch.tensor([0.0, 2.0])
    imagined[1, 2] = 5.0
    executed = torch.tensor([[True, True, True], [True, False, False]])
    nothing = torch.zeros(2, 2)
    errors = Execution(
        Tasks(nothing, nothing), torch.zeros(2, 3, 2), states, imagined, executed, nothing, 0.0
    ).squared_errors()
    assert errors[0].tolist() == [5.0, 0.0, 2.0]
    assert errors[1, 0] == 0
    assert errors[1, 1:].isnan().all()
    assert errors.nanmean().item() == pytest.approx(7 / 4)
