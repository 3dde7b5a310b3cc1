"""What every planner must keep, and the parts of the interface that they share."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.initialization import Colored, Knots, Normal, PolicyRollouts, Zeros
from gapclose.planning.objective import GoalDistance, Objective
from gapclose.planning.planner import Planner, require_choice
from tests.planning.conftest import (
    ANNEALED,
    CAUTIOUS,
    EVERY_STEP,
    HIGH,
    KINDS,
    LAST_STEP,
    LOW,
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


def assert_sound(made, world_model, objective, n=4, steps=5):
    """Inside the bounds, and as good as it says."""
    assert made.actions.shape == (n, steps, 2)
    assert made.elites.shape[::2] == (n, steps)
    assert torch.equal(made.elites[:, 0], made.actions)
    assert ((made.elites >= LOW) & (made.elites <= HIGH)).all()
    assert not made.elites.requires_grad
    assert not made.cost.requires_grad
    torch.testing.assert_close(made.cost, objective_of(world_model, objective, made.actions))
    torch.testing.assert_close(made.cost_per_iteration[-1], made.cost.mean())


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("warm", [False, True])
def test_every_planner_starts_from_every_init_and_keeps_its_promises(ensemble, kind, init, warm):
    warm_start = random_plans(4, 3, 5) if warm else None
    made = plan(make(kind, init=init_named(init)), ensemble, CAUTIOUS, warm_start=warm_start)
    assert_sound(made, ensemble, CAUTIOUS)
    assert (made.cost_per_iteration.diff() <= 0).all()


def test_what_costs_per_iteration_say_is_beside_the_time_that_it_took(ensemble, kind):
    made = plan(make(kind, iterations=3), ensemble, CAUTIOUS)
    sampled = 2 if kind == "multistart" else 0
    assert made.cost_per_iteration.shape == made.seconds_per_iteration.shape == (3 + 1 + sampled,)
    assert (made.seconds_per_iteration.diff() >= 0).all()
    assert made.seconds_per_iteration[0] > 0
    assert made.seconds_per_iteration[-1] <= made.seconds
    assert made.actions_per_iteration is None


@pytest.mark.parametrize("steps", [1, 3, 9])
@pytest.mark.parametrize("sequences", [1, 2, 5, 20])
def test_a_warm_start_decides_the_length_whatever_the_number_of_its_sequences(ensemble, kind, steps, sequences):
    warm_start = random_plans(4, sequences, steps)
    before = warm_start.clone()
    made = plan(make(kind), ensemble, CAUTIOUS, warm_start=warm_start)
    assert_sound(made, ensemble, CAUTIOUS, steps=steps)
    assert torch.equal(warm_start, before)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_best_of_a_warm_start_is_never_worsened(ensemble, kind, iterations):
    warm_start = random_plans(4, 2, 6)
    large = dict(lr=3.0) if kind in ("gradient", "multistart", "grad_cem") else {}
    made = plan(make(kind, iterations=iterations, **large), ensemble, CAUTIOUS, warm_start=warm_start)
    assert (made.cost <= objective_of(ensemble, CAUTIOUS, warm_start[:, 0]) + 1e-5).all()


@pytest.mark.parametrize("kind", ["gradient", "multistart", "icem"])
def test_the_second_sequence_of_a_warm_start_is_tried_too(point_model, kind):
    start, goal = tasks()
    best = ((goal - start) / 9).unsqueeze(1).expand(-1, 9, -1)
    made = plan(make(kind), point_model(), LAST_STEP, warm_start=torch.stack((random_plans(4, 9), best), 1))
    torch.testing.assert_close(made.actions, best)


def test_a_warm_start_outside_the_bounds_is_clipped_to_them(ensemble, kind):
    single = dict(num_starts=1) if kind in ("gradient", "grasp") else {}
    made = plan(make(kind, iterations=0, **single), ensemble, CAUTIOUS, warm_start=torch.full((4, 1, 5, 2), 7.0))
    assert_sound(made, ensemble, CAUTIOUS)
    if kind != "multistart":
        torch.testing.assert_close(made.actions, HIGH.expand(4, 5, 2))


def test_without_iterations_it_takes_the_best_of_what_it_starts_from(ensemble, kind):
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


def test_time_that_is_over_before_it_begins_leaves_what_no_iterations_leave(ensemble, kind):
    timed = plan(make(kind, iterations=1000, seconds=1e-9), ensemble, CAUTIOUS)
    unrefined = dict(num_resamples=0) if kind == "multistart" else {}
    assert torch.equal(timed.actions, plan(make(kind, iterations=0, **unrefined), ensemble, CAUTIOUS).actions)


def test_a_target_ends_the_search_of_those_that_reach_it_and_changes_nothing_for_the_others(point_model, kind):
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


def test_the_generator_alone_decides_the_plan(ensemble, kind):
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


def test_a_planner_remembers_nothing_from_one_plan_to_the_next(ensemble, kind):
    planner = make(kind)
    made = plan(planner, ensemble, CAUTIOUS)
    plan(planner, ensemble, LAST_STEP, seed=1, n=2)
    assert torch.equal(made.actions, plan(planner, ensemble, CAUTIOUS).actions)


def test_what_other_tasks_want_changes_nothing(ensemble, kind):
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


def test_it_gets_nearer_the_goal_than_it_starts(point_model, kind):
    made = plan(make(kind, init=Zeros(), iterations=10), point_model(), LAST_STEP)
    resting = objective_of(point_model(), LAST_STEP, torch.zeros(4, 5, 2))
    assert (made.cost < 0.7 * resting).all()


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_where_weights_change_the_plan_costs_what_it_costs_in_the_end(ensemble, kind, iterations):
    made = plan(make(kind, iterations=iterations), ensemble, ANNEALED)
    assert_sound(made, ensemble, ANNEALED)
    assert (made.cost_per_iteration.diff() <= 0).all()


def test_it_remembers_the_best_actions_after_each_iteration_if_asked_to(ensemble, kind):
    made = plan(make(kind), ensemble, CAUTIOUS, remember=True)
    assert made.actions_per_iteration.shape == (len(made.cost_per_iteration), 4, 5, 2)
    assert torch.equal(made.actions_per_iteration[-1], made.actions)
    for actions, cost in zip(made.actions_per_iteration, made.cost_per_iteration):
        torch.testing.assert_close(objective_of(ensemble, CAUTIOUS, actions).mean(), cost)


def test_the_world_model_is_left_as_it_was(ensemble, kind):
    ensemble.train()
    next(ensemble.parameters()).requires_grad_(False)
    needed = [p.requires_grad for p in ensemble.parameters()]
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    plan(make(kind), ensemble, CAUTIOUS)
    assert all(p.grad is None for p in ensemble.parameters())
    assert [p.requires_grad for p in ensemble.parameters()] == needed
    assert all(module.training for module in ensemble.modules())
    assert all(torch.equal(value, before[name]) for name, value in ensemble.state_dict().items())


def test_it_plans_also_where_gradients_are_switched_off(ensemble, kind):
    with torch.no_grad():
        made = plan(make(kind), ensemble, CAUTIOUS)
    assert torch.equal(made.actions, plan(make(kind), ensemble, CAUTIOUS).actions)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("warm", [False, True])
def test_it_plans_for_no_tasks_at_all(ensemble, kind, warm):
    made = plan(make(kind), ensemble, CAUTIOUS, n=0, warm_start=random_plans(0, 2, 5) if warm else None)
    assert made.actions.shape == (0, 5, 2)
    assert made.cost.shape == (0,)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_short_horizons_are_horizons_too(ensemble, kind, horizon):
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


@pytest.mark.parametrize("where", ["cost", "model"])
def test_tasks_that_cannot_be_judged_spoil_nothing_for_the_others(point_model, kind, where):
    """A NaN from the model or the objective, at one of the tasks."""
    start, goal = tasks()
    (goal if where == "cost" else start)[2] = torch.nan
    made = make(kind).plan(point_model(), LAST_STEP, start, goal, generator=seeded())
    sound = torch.tensor([0, 1, 3])
    torch.testing.assert_close(made.cost[sound], plan(make(kind), point_model(), LAST_STEP).cost[sound])
    assert ((made.actions >= LOW) & (made.actions <= HIGH)).all()
    assert made.cost[2] == torch.inf


def test_worthless_plans_are_warned_of(point_model, caplog):
    start, goal = tasks()
    make("cem").plan(point_model(), LAST_STEP, start, goal)
    assert not caplog.messages
    start[2] = torch.nan
    make("cem").plan(point_model(), LAST_STEP, start, goal)
    (message,) = caplog.messages
    assert message.startswith("For 1 of 4 tasks the world model predicts NaN or infinite values")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_predicts_no_numbers_at_all_is_refused(point_model, kind, value):
    with pytest.raises(UserError, match=r"For 4 of 4 tasks .* NaN or infinite values.*learning rate"):
        plan(make(kind), point_model(gain=value), LAST_STEP)


def test_a_horizon_beyond_the_models_is_refused(point_model):
    model = point_model()
    model.longest_rollout = 4
    with pytest.raises(UserError, match=r"planner\.horizon is 5, but the model predicts 4 steps at most"):
        plan(make("cem"), model, LAST_STEP)
    assert plan(make("cem", horizon=4), model, LAST_STEP).actions.shape == (4, 4, 2)
    assert plan(make("cem"), model, LAST_STEP, warm_start=random_plans(4, 1, 3)).actions.shape == (4, 3, 2)


def test_a_price_on_disagreement_without_an_ensemble_is_refused(point_model):
    with pytest.raises(UserError, match=r"single member; choose objective=goal, or model=ensemble"):
        plan(make("cem"), point_model(), CAUTIOUS)


def test_actions_that_cannot_be_judged_are_not_chosen_and_do_not_end_the_search(point_model, kind):
    """The model knows nothing of fast actions to the right."""

    class Ignorant(point_model):
        def step(self, latent, action):
            return super().step(latent, torch.where(action[:, :1] > 0.45, torch.nan, action))

    # Of fewer samples, those that can be judged may be fewer than the elites.
    enough = dict(num_samples=24) if kind == "cem" else {}
    made = plan(make(kind, init=Zeros(), iterations=10, **enough), Ignorant(), LAST_STEP)
    resting = objective_of(point_model(), LAST_STEP, torch.zeros(4, 5, 2))
    assert (made.cost < 0.7 * resting).all()
    assert (made.actions[..., 0] <= 0.45).all()


WRONG = dict(
    gradient=[
        dict(num_starts=0),
        dict(optimizer="newton"),
        dict(lr=0.0),
        dict(lr=float("nan")),
        dict(action_noise=-0.1),
    ],
    multistart=[
        dict(num_samples=0),
        dict(num_resamples=-1),
        dict(num_elites=0),
        dict(resample_scale=-0.1),
        dict(num_knots=0),
        dict(num_starts=0),
        dict(lr=-1),
    ],
    cem=[dict(num_samples=0), dict(num_elites=0), dict(init_std=0.0), dict(init_std=-1)],
    icem=[
        dict(noise_exponent=-1),
        dict(kept_elites=1.1),
        dict(kept_elites=-0.1),
        dict(decay=0.0),
        dict(momentum=2.0),
        dict(init_std=0.0),
    ],
    mppi=[dict(num_samples=0), dict(noise_std=0.0), dict(temperature=0.0), dict(temperature=float("inf"))],
    grad_cem=[dict(gradient_steps=0), dict(lr=0.0), dict(num_elites=0)],
    predictive_sampling=[dict(num_samples=0), dict(num_knots=0), dict(noise_std=0.0)],
    grasp=[
        dict(num_starts=0),
        dict(lifted_steps=0),
        dict(sync_steps=-1),
        dict(state_rate=1.5),
        dict(lr=0.0),
        dict(state_noise=-1.0),
        dict(noise_width=-1.0),
        dict(goal_weight=-1.0),
        dict(state_init_std=-1.0),
    ],
)
SHARED = [
    dict(horizon=0),
    dict(iterations=-1),
    dict(seconds=0.0),
    dict(seconds=float("inf")),
    dict(target_cost=-1.0),
    dict(target_cost=float("nan")),
    dict(init="zeros"),
]


@pytest.mark.parametrize(("kind", "wrong"), [(kind, x) for kind in KINDS for x in SHARED + WRONG[kind]], ids=str)
def test_impossible_settings_are_refused_by_name(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make(kind, **wrong)


def test_settings_that_do_not_exist_are_refused_by_name(kind):
    with pytest.raises((ValidationError, TypeError), match="num_refined"):
        make(kind, num_refined=3)


def test_a_search_without_end_is_refused(kind):
    with pytest.raises(UserError, match=r"planner\.iterations or planner\.seconds"):
        make(kind, iterations=None)


def test_by_default_a_search_starts_from_the_middle_of_the_bounds(point_model, kind):
    made = plan(make(kind, init=None, iterations=0), point_model(), LAST_STEP)
    if kind != "multistart":
        assert torch.equal(made.actions, torch.zeros(4, 5, 2))


class Beginner(Planner):
    """Judges its first three sequences, and notes them and the warm start that it was given."""

    def __init__(self, init, low=LOW, high=HIGH):
        super().__init__(low, high, init, horizon=5)

    def search(self, search, warm_start):
        self.warm_start, self.first = warm_start, self.begin(search, warm_start, 3)
        search.score(self.first)


def test_a_search_begins_with_the_warm_start_and_fills_up_with_draws(point_model):
    planner = Beginner(Normal())
    plan(planner, point_model(), LAST_STEP)
    torch.testing.assert_close(planner.first, search_with(point_model()).normal(3).clamp(-1, 1))
    warm_start = random_plans(4, 5, 5)
    plan(planner, point_model(), LAST_STEP, warm_start=warm_start[:, :2])
    torch.testing.assert_close(planner.first[:, :2], warm_start[:, :2] / HIGH)
    torch.testing.assert_close(planner.first[:, 2:], search_with(point_model()).normal(1).clamp(-1, 1))
    plan(planner, point_model(), LAST_STEP, warm_start=warm_start)
    torch.testing.assert_close(planner.first, warm_start[:, :3] / HIGH)


def test_a_warm_start_is_in_the_simulators_units(point_model):
    planner = Beginner(Zeros(), torch.tensor([-0.25, 1.0]), torch.tensor([0.25, 3.0]))
    plan(planner, point_model(), LAST_STEP, n=1, warm_start=torch.tensor([[[[0.125, 2.0], [-1.0, 4.0]]]]))
    torch.testing.assert_close(planner.warm_start, torch.tensor([[[[0.5, 0.0], [-1.0, 1.0]]]]))


def test_the_elites_are_the_plan_and_what_else_the_search_recommends(point_model):
    class Recommending(Beginner):
        def search(self, search, warm_start):
            super().search(search, warm_start)
            return self.first[:, 1:]

    planner = Recommending(Normal())
    made = plan(planner, point_model(), LAST_STEP)
    torch.testing.assert_close(made.elites, torch.cat((made.actions[:, None], HIGH * planner.first[:, 1:]), 1))
    assert plan(Beginner(Normal()), point_model(), LAST_STEP).elites.shape == (4, 1, 5, 2)


class Deaf(Planner):
    """Fails in the middle of the search, and tells in which state the world model was then."""

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


def test_choosing_more_than_there_are_is_refused_by_both_names_and_numbers():
    require_choice("planner.num_elites", 4, "planner.num_samples", 4)
    with pytest.raises(UserError, match=r"planner\.num_elites is 5.*planner\.num_samples = 4"):
        require_choice("planner.num_elites", 5, "planner.num_samples", 4)


def test_a_nearest_objective_is_planned_for_like_any_other(ensemble, kind):
    for at in ("nearest", "soft_nearest"):
        objective = Objective(dict(goal=GoalDistance(at)))
        assert_sound(plan(make(kind), ensemble, objective), ensemble, objective)


@pytest.mark.parametrize("init", ["knots", "policy"])
def test_a_compiled_model_is_not_compiled_again_for_any_plan(ensemble, graphs, kind, init):
    for n in (20, 1, 2):
        for horizon in (5, 1):
            plan(make(kind, init=init_named(init), horizon=horizon), ensemble, CAUTIOUS, n=n)
    assert graphs.frame_count == 0


def test_without_gradients_of_the_simulator_only_planners_that_sample_plan_with_it(engine, kind):
    planner, oracle = make(kind, engine.action_low, engine.action_high), OracleWorldModel(engine)
    if kind in ("gradient", "multistart", "grad_cem", "grasp"):
        with pytest.raises(UserError, match=r"the simulator, .* has none; choose a planner that only samples"):
            plan(planner, oracle, LAST_STEP)
        planner = make(kind, engine.action_low, engine.action_high, iterations=0)
    assert plan(planner, oracle, LAST_STEP).cost.isfinite().all()
