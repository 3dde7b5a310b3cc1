import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from gapclose.errors import UserError
from gapclose.planning.objective import Disagreement, GoalDistance, Objective
from gapclose.planning.planner import Planner, Problem, frozen, require_choice, select

GOAL_LAST = Objective(dict(goal=GoalDistance("last")))


class Fixed(Planner):
    """Returns the sequences that it was made with, or the warm start."""

    def __init__(self, actions, low=(-1.0, -1.0), high=(1.0, 1.0)):
        super().__init__(actions.shape[1], torch.as_tensor(low), torch.as_tensor(high))
        self.actions = actions

    def search(self, problem, warm_start, generator):
        self.problem, self.warm_start = problem, warm_start
        best = self.actions if warm_start is None else warm_start
        return best, problem.cost(best)[None]


def test_normalised_actions_from_minus_one_to_one_span_the_action_bounds():
    actions = torch.tensor([[[-1.0, -1.0], [0.0, 0.0], [1.0, 0.5]]])
    planner = Fixed(actions, low=(-0.25, 1.0), high=(0.25, 3.0))
    torch.testing.assert_close(planner.denormalize(actions), torch.tensor([[[-0.25, 1.0], [0.0, 2.0], [0.25, 2.5]]]))


@given(st.floats(-10, 10, width=32), st.floats(0.015625, 10, width=32), st.floats(-1, 1, width=32))
def test_actions_are_inside_symmetric_and_shifted_bounds_up_to_rounding(low, width, action):
    high = low + width
    planner = Fixed(torch.zeros(1, 1, 1), (low,), (high,))
    value = planner.denormalize(torch.tensor([[[action]]])).item()
    assert low - 2e-6 <= value <= high + 2e-6


@given(st.integers(-100, 100), st.integers(1, 100))
@example(-10, 40)
def test_actions_are_exactly_inside_the_bounds(low, width):
    bounds = torch.tensor([low / 100]), torch.tensor([(low + width) / 100])
    planner = Fixed(torch.zeros(1, 1, 1), *bounds)
    actions = planner.denormalize(torch.tensor([[[-1.0], [1.0]]]))
    assert (actions >= bounds[0]).all()
    assert (actions <= bounds[1]).all()


def test_a_warm_start_is_in_the_simulators_units_and_clipped_to_the_bounds(point_model):
    planner = Fixed(torch.zeros(1, 3, 2), low=(-0.25, 1.0), high=(0.25, 3.0))
    warm = torch.tensor([[[0.125, 2.0], [-1.0, 4.0]]])
    start = torch.zeros(1, 2)
    plan = planner.plan(point_model(), GOAL_LAST, start, start, warm_start=warm)
    torch.testing.assert_close(planner.warm_start, torch.tensor([[[0.5, 0.0], [-1.0, 1.0]]]))
    torch.testing.assert_close(plan.actions, torch.tensor([[[0.125, 2.0], [-0.25, 3.0]]]))
    assert torch.equal(warm, torch.tensor([[[0.125, 2.0], [-1.0, 4.0]]]))


def test_a_problem_costs_what_the_objective_says_of_the_imagined_rollout(point_model):
    model, planner = point_model(gain=2.0), Fixed(torch.zeros(2, 3, 2), low=(-0.5, -0.5), high=(0.5, 0.5))
    start, goal = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    problem = Problem(planner, model, GOAL_LAST, model.encode(start), model.encode(goal))
    # Both end at (3, 0): gain 2, three steps of 0.5 along x.
    actions = torch.tensor([1.0, 0.0]).expand(2, 3, 2)
    torch.testing.assert_close(problem.cost(actions), torch.tensor([4.0 / 2, (9.0 + 9.0) / 2]))


@pytest.mark.parametrize("rows_at_once", [1, 7, 12, 10_000])
def test_scores_do_not_depend_on_how_many_rows_are_rolled_out_together(ensemble, trajectories, rows_at_once):
    planner = Fixed(torch.zeros(5, 6, 2), low=(-0.25, -0.25), high=(0.25, 0.25))
    planner.rows_at_once = rows_at_once
    objective = Objective(dict(goal=GoalDistance("all"), disagreement=Disagreement(3.0)))
    z, goal = ensemble.encode(trajectories.states[:5, 0]), ensemble.encode(trajectories.states[:5, -1])
    problem = Problem(planner, ensemble, objective, z, goal)
    candidates = 2 * torch.rand(5, 4, 6, 2, generator=torch.Generator().manual_seed(0)) - 1
    scores = problem.score(candidates)
    assert scores.shape == (5, 4)
    assert not scores.requires_grad
    by_hand = torch.stack([problem.cost(candidates[:, k]) for k in range(4)], 1)
    torch.testing.assert_close(scores, by_hand.detach())


def test_every_task_is_repeated_for_each_of_its_sequences(point_model):
    problem = Problem(None, None, None, torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]))
    expanded = problem.expand(3)
    assert expanded.start.flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert expanded.goal.flatten().tolist() == [3, 3, 3, 4, 4, 4]


def test_select_takes_each_tasks_own_sequences():
    candidates = torch.arange(2 * 3 * 2).view(2, 3, 2, 1)
    chosen = select(candidates, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(chosen, torch.stack((candidates[0, [2, 0]], candidates[1, [1, 1]])))


class Deaf(Planner):
    """Fails in the middle of the search, and tells in which state the world model was then."""

    def search(self, problem, warm_start, generator):
        module = problem.world_model
        self.seen = [p.requires_grad for p in module.parameters()], [m.training for m in module.modules()]
        raise RuntimeError("lost")


@pytest.fixture
def half_frozen(point_model):
    """A model in training mode, one parameter of which is not trained, and a part of which is in evaluation mode."""
    model = point_model()
    model.encoder = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model.encoder[0].bias.requires_grad_(False)
    return model.train()


def test_within_a_plan_no_parameter_requires_a_gradient_and_the_model_is_in_evaluation_mode(half_frozen):
    planner = Deaf(3, -torch.ones(2), torch.ones(2))
    with pytest.raises(RuntimeError, match="lost"):
        planner.plan(half_frozen, GOAL_LAST, torch.zeros(1, 2), torch.zeros(1, 2))
    requires_grad, training = planner.seen
    assert not any(requires_grad)
    assert not any(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_gradients_and_mode_are_restored_also_after_a_failure(half_frozen, training, fails):
    half_frozen.train(training)
    try:
        with frozen(half_frozen):
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert all(module.training == training for module in half_frozen.modules())
    needed = {name: parameter.requires_grad for name, parameter in half_frozen.named_parameters()}
    assert needed == {"gain": True, "encoder.0.weight": True, "encoder.0.bias": False}


def test_a_part_that_was_in_evaluation_mode_stays_there(half_frozen):
    half_frozen.encoder.eval()
    with frozen(half_frozen):
        pass
    assert half_frozen.training
    assert not half_frozen.encoder.training


def test_choosing_more_than_there_are_is_refused_by_both_names_and_numbers():
    require_choice("planner.num_elites", 4, "planner.num_samples", 4)
    with pytest.raises(UserError, match=r"planner\.num_elites is 5.*planner\.num_samples = 4"):
        require_choice("planner.num_elites", 5, "planner.num_samples", 4)
