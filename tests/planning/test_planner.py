"""What every planner must keep, and the parts of the interface that they share."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.initialization import Colored, Knots, Normal, PolicyRollouts, Zeros
from gapclose.planning.objective import GoalDistance, Objective
from gapclose.planning.planner import Planner
from tests.planning.conftest import (
    ANNEALED,
    CAUTIOUS,
    EVERY_STEP,
    HIGH,
    KINDS,
    LAST_STEP,
    LOW,
    assert_sound,
    make,
    objective_of,
    plan,
    random_plans,
    search_with,
    seeded,
    tasks,
)

INITS = ["zeros", "normal", "knots", "colored", "policy"]


def init_named(name):
    if name == "policy":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            init = PolicyRollouts()
            init.policy = GoalConditionedPolicy(2, LOW, HIGH, hidden_dim=4)
        return init
    return dict(zeros=Zeros, normal=Normal, knots=Knots, colored=Colored)[name]()


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("warm", [False, True])
def test_every_planner_makes_valid_plans_from_every_init(ensemble, kind, init, warm):
    warm_start = random_plans(4, 3, 5) if warm else None
    made = plan(make(kind, init=init_named(init)), ensemble, CAUTIOUS, warm_start=warm_start)
    assert_sound(made, ensemble, CAUTIOUS)
    assert (made.cost_per_iteration.diff() <= 0).all()


def test_costs_and_times_per_iteration_belong_together(ensemble, kind):
    made = plan(make(kind, iterations=3), ensemble, CAUTIOUS)
    sampled = 2 if kind == "multistart" else 0
    assert made.cost_per_iteration.shape == made.seconds_per_iteration.shape == (3 + 1 + sampled,)
    assert (made.seconds_per_iteration.diff() >= 0).all()
    assert made.seconds_per_iteration[0] > 0
    assert made.seconds_per_iteration[-1] <= made.seconds
    assert made.actions_per_iteration is None


def test_without_iterations_the_plan_is_the_best_initial_sequence(ensemble, kind):
    made = plan(make(kind, iterations=0), ensemble, CAUTIOUS)
    assert_sound(made, ensemble, CAUTIOUS)
    if kind != "multistart":
        first = search_with(ensemble).normal(KINDS[kind][1].get("num_starts", 1)).clamp(-1, 1) * HIGH
        costs = torch.stack([objective_of(ensemble, CAUTIOUS, x) for x in first.unbind(1)], 1)
        torch.testing.assert_close(made.cost, costs.amin(1))


@pytest.mark.parametrize("seconds", [1e-9, 0.05])
def test_time_alone_may_limit_the_search(ensemble, kind, seconds):
    began = time.perf_counter()
    made = plan(make(kind, iterations=None, seconds=seconds), ensemble, CAUTIOUS)
    assert time.perf_counter() - began < seconds + 1
    assert_sound(made, ensemble, CAUTIOUS)
    assert made.cost.isfinite().all()
    assert made.seconds >= (seconds if seconds > 1e-9 else 0)


def test_a_time_limit_of_almost_zero_equals_zero_iterations(ensemble, kind):
    timed = plan(make(kind, iterations=1000, seconds=1e-9), ensemble, CAUTIOUS)
    unrefined = dict(num_resamples=0) if kind == "multistart" else {}
    assert torch.equal(timed.actions, plan(make(kind, iterations=0, **unrefined), ensemble, CAUTIOUS).actions)


def test_a_target_cost_finishes_the_tasks_that_reach_it_and_does_not_affect_the_others(point_model, kind):
    endless = plan(make(kind), point_model(), EVERY_STEP, n=12)
    target = endless.cost.median().item()
    made = plan(make(kind, target_cost=target), point_model(), EVERY_STEP, n=12)
    finished = made.cost <= target
    assert torch.equal(finished, endless.cost <= target)
    torch.testing.assert_close(made.actions[~finished], endless.actions[~finished])
    assert made.model_calls < endless.model_calls


def test_a_target_that_every_start_reaches_ends_the_search_at_once(point_model, kind):
    made = plan(make(kind, target_cost=1e6, iterations=50), point_model(), EVERY_STEP)
    first = plan(make(kind, iterations=1), point_model(), EVERY_STEP)
    assert made.model_calls <= first.model_calls
    assert len(made.cost_per_iteration) <= len(first.cost_per_iteration)


def test_the_plan_depends_only_on_the_generator(ensemble, kind):
    made = plan(make(kind), ensemble, CAUTIOUS, seed=1)
    torch.rand(3)
    assert torch.equal(made.elites, plan(make(kind), ensemble, CAUTIOUS, seed=1).elites)
    assert not torch.equal(made.actions, plan(make(kind), ensemble, CAUTIOUS, seed=2).actions)


def test_without_a_generator_the_global_one_is_used(ensemble, kind):
    torch.manual_seed(3)
    made = make(kind).plan(ensemble, CAUTIOUS, *tasks())
    torch.manual_seed(3)
    assert torch.equal(made.actions, make(kind).plan(ensemble, CAUTIOUS, *tasks()).actions)
    assert torch.equal(made.actions, plan(make(kind), ensemble, CAUTIOUS, seed=3).actions)


def test_a_planner_keeps_no_state_from_one_plan_to_the_next(ensemble, kind):
    planner = make(kind)
    made = plan(planner, ensemble, CAUTIOUS)
    plan(planner, ensemble, LAST_STEP, seed=1, n=2)
    assert torch.equal(made.actions, plan(planner, ensemble, CAUTIOUS).actions)


def test_a_plan_does_not_depend_on_the_goals_of_other_tasks(ensemble, kind):
    start, goal = tasks()
    other = goal.clone()
    other[1:] *= -1
    first, second = (make(kind).plan(ensemble, CAUTIOUS, start, x, generator=seeded()) for x in (goal, other))
    torch.testing.assert_close(first.actions[0], second.actions[0], atol=1e-4, rtol=0)
    assert not torch.allclose(first.actions[1:], second.actions[1:], atol=1e-2)


@pytest.mark.parametrize("init", INITS)
def test_the_same_seed_gives_the_same_plan_on_any_split_of_the_batch(ensemble, kind, init):
    ensemble, init, (start, goal) = ensemble.double(), init_named(init), (x.double() for x in tasks(8))
    if isinstance(init, PolicyRollouts):
        init.policy.double()

    def made(part):
        return make(kind, init=init).plan(ensemble, CAUTIOUS, start[part], goal[part], generator=seeded()).elites

    whole = made(slice(None))
    for parts in ([slice(0, 4), slice(4, 8)], [slice(0, 7), slice(7, 8)]):
        torch.testing.assert_close(torch.cat([made(part) for part in parts]), whole, atol=1e-9, rtol=0)


def test_the_same_seed_gives_the_same_plan_on_any_split_also_of_a_warm_start(ensemble, kind):
    ensemble, (start, goal) = ensemble.double(), (x.double() for x in tasks(8))
    warm_start = random_plans(8, 2, 5).double()

    def made(part):
        inputs = start[part], goal[part], warm_start[part]
        return make(kind).plan(ensemble, CAUTIOUS, *inputs, generator=seeded()).elites

    halves = torch.cat((made(slice(0, 4)), made(slice(4, 8))))
    torch.testing.assert_close(halves, made(slice(None)), atol=1e-9, rtol=0)


def test_the_plan_is_better_than_the_start(point_model, kind):
    made = plan(make(kind, init=Zeros(), iterations=10), point_model(), LAST_STEP)
    resting = objective_of(point_model(), LAST_STEP, torch.zeros(4, 5, 2))
    assert (made.cost < 0.7 * resting).all()


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_with_changing_weights_the_cost_of_the_plan_uses_the_final_ones(ensemble, kind, iterations):
    made = plan(make(kind, iterations=iterations), ensemble, ANNEALED)
    assert_sound(made, ensemble, ANNEALED)
    assert (made.cost_per_iteration.diff() <= 0).all()


def test_with_remember_the_plan_has_the_best_actions_after_each_iteration(ensemble, kind):
    made = plan(make(kind), ensemble, CAUTIOUS, remember=True)
    assert made.actions_per_iteration.shape == (len(made.cost_per_iteration), 4, 5, 2)
    assert torch.equal(made.actions_per_iteration[-1], made.actions)
    for actions, cost in zip(made.actions_per_iteration, made.cost_per_iteration):
        torch.testing.assert_close(objective_of(ensemble, CAUTIOUS, actions).mean(), cost)


def test_planning_does_not_change_the_world_model(ensemble, kind):
    ensemble.train()
    next(ensemble.parameters()).requires_grad_(False)
    needed = [p.requires_grad for p in ensemble.parameters()]
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    plan(make(kind), ensemble, CAUTIOUS)
    assert all(p.grad is None for p in ensemble.parameters())
    assert [p.requires_grad for p in ensemble.parameters()] == needed
    assert all(module.training for module in ensemble.modules())
    assert all(torch.equal(value, before[name]) for name, value in ensemble.state_dict().items())


def test_planners_work_inside_no_grad(ensemble, kind):
    with torch.no_grad():
        made = plan(make(kind), ensemble, CAUTIOUS)
    assert torch.equal(made.actions, plan(make(kind), ensemble, CAUTIOUS).actions)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("warm", [False, True])
def test_planners_accept_an_empty_batch_of_tasks(ensemble, kind, warm):
    made = plan(make(kind), ensemble, CAUTIOUS, n=0, warm_start=random_plans(0, 2, 5) if warm else None)
    assert made.actions.shape == (0, 5, 2)
    assert made.cost.shape == (0,)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_planners_accept_very_short_horizons(ensemble, kind, horizon):
    made = plan(make(kind, horizon=horizon), ensemble, CAUTIOUS)
    assert_sound(made, ensemble, CAUTIOUS, steps=horizon)


@given(low=st.integers(-100, 100), width=st.integers(1, 100), kind=st.sampled_from(list(KINDS)))
@hypothesis_settings(max_examples=40)
def test_actions_are_exactly_inside_any_bounds(low, width, kind):
    wall = Wall()
    low, high = torch.tensor([low / 100, -0.1]), torch.tensor([(low + width) / 100, 0.3])
    start, goal = wall.sample_tasks(2, seeded())
    made = make(kind, low, high, horizon=3, iterations=2).plan(
        OracleWorldModel(wall), LAST_STEP, start, goal, generator=seeded()
    )
    assert ((made.elites >= low) & (made.elites <= high)).all()


class Deaf(Planner):
    """Fails in the middle of the search, and records the state of the world model at that time."""

    def search(self, search, warm_start):
        module = search.world_model
        self.seen = [p.requires_grad for p in module.parameters()], [m.training for m in module.modules()]
        raise RuntimeError("lost")


def test_within_a_plan_no_parameter_requires_a_gradient_and_the_model_is_in_evaluation_mode(half_frozen):
    planner = Deaf(LOW, HIGH)
    with pytest.raises(RuntimeError, match="lost"):
        plan(planner, half_frozen, LAST_STEP)
    requires_grad, training = planner.seen
    assert not any(requires_grad)
    assert not any(training)
    assert half_frozen.gain.requires_grad
    assert half_frozen.training


def test_planners_work_with_the_nearest_objective(ensemble, kind):
    for at in ("nearest", "soft_nearest"):
        objective = Objective(dict(goal=GoalDistance(at)))
        assert_sound(plan(make(kind), ensemble, objective), ensemble, objective)


@pytest.mark.parametrize("init", ["knots", "policy"])
def test_a_compiled_model_is_not_compiled_again_for_any_plan(compiled, kind, init):
    model, graphs = compiled
    for n in (20, 1, 2):
        for horizon in (5, 1):
            plan(make(kind, init=init_named(init), horizon=horizon), model, CAUTIOUS, n=n)
    assert graphs.frame_count == 0
