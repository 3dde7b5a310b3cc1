import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.gradient import OPTIMIZERS, GradientPlanner
from gapclose.planning.initialization import initial_actions
from gapclose.planning.objective import Disagreement, GoalDistance, Objective
from gapclose.planning.planner import Problem

LOW, HIGH = torch.tensor([-0.5, -0.25]), torch.tensor([0.5, 0.25])
EVERY_STEP = Objective(dict(goal=GoalDistance("all")))
LAST_STEP = Objective(dict(goal=GoalDistance("last")))
CAUTIOUS = Objective(dict(goal=GoalDistance("last"), disagreement=Disagreement(3.0)))

SMALL = dict(horizon=5, num_starts=6, num_resamples=1, num_elites=3, num_refined=2, iterations=8)
PLAIN = dict(init="zeros", num_starts=1, num_resamples=0, num_refined=1)
"""Gradient descent from one start, which is known."""


def planner(**changes):
    return GradientPlanner(LOW, HIGH, **SMALL | changes)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tasks(n=4):
    random = seeded(9)
    return 2 * torch.rand(n, 2, generator=random) - 1, 2 * torch.rand(n, 2, generator=random) - 1


def plan(world_model, objective, seed=0, n=4, warm_start=None, **changes):
    return planner(**changes).plan(world_model, objective, *tasks(n), warm_start, seeded(seed))


def objective_of(world_model, objective, actions, n=4):
    """What the objective says of actions in the simulator's units, computed without a planner."""
    start, goal = tasks(n)
    with torch.no_grad():
        return objective.cost(
            world_model.rollout(world_model.encode(start), actions), actions, world_model.encode(goal)
        )


def fastest(start, goal, horizon):
    """The best plan where z' = z + a and every step counts: straight there in each coordinate, then rest."""
    actions, z = [], start
    for _ in range(horizon):
        actions.append((goal - z).clamp(LOW, HIGH))
        z = z + actions[-1]
    return torch.stack(actions, 1)


@pytest.mark.parametrize(
    "settings",
    [
        dict(PLAIN, optimizer="adam", lr=0.05),
        dict(PLAIN, optimizer="adamw", lr=0.05),
        dict(PLAIN, optimizer="sgd", lr=0.8),
        dict(PLAIN, optimizer="momentum", lr=0.1),
        dict(init="knots", lr=0.05),
        dict(init="normal", lr=0.05),
    ],
    ids=lambda s: s.get("optimizer", s["init"]),
)
def test_it_finds_the_known_optimum_where_the_landscape_is_convex(point_model, settings):
    best = fastest(*tasks(), horizon=5)
    made = plan(point_model(), EVERY_STEP, iterations=300, **settings)
    torch.testing.assert_close(made.cost, objective_of(point_model(), EVERY_STEP, best), atol=2e-3, rtol=0)
    torch.testing.assert_close(made.actions, best, atol=0.05, rtol=0)


def test_it_finds_the_way_through_the_door_that_one_start_does_not():
    wall = Wall()
    start, goal = wall.sample_tasks(20, seeded(1))
    reached = {}
    for name, settings in {"many": dict(num_starts=64, num_elites=8, num_refined=2), "one": PLAIN}.items():
        settings = dict(horizon=30, iterations=20, num_resamples=2) | settings
        made = GradientPlanner(wall.action_low, wall.action_high, **settings).plan(
            OracleWorldModel(wall), LAST_STEP, start, goal, generator=seeded()
        )
        reached[name] = wall.success(wall.rollout(start, made.actions)[:, -1], goal).float().mean()
    assert reached["many"] >= 0.8
    assert reached["one"] < reached["many"]


@pytest.mark.parametrize("init", ["zeros", "normal", "knots"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("action_noise", [0.0, 0.5])
@pytest.mark.parametrize("warm", [False, True])
def test_actions_are_inside_the_bounds_and_cost_what_the_objective_says(ensemble, init, optimizer, action_noise, warm):
    warm_start = 2 * torch.randn(4, 3, 2, generator=seeded()) if warm else None
    settings = dict(init=init, optimizer=optimizer, action_noise=action_noise, lr=2.0, warm_start=warm_start)
    made = plan(ensemble, CAUTIOUS, **settings)
    assert made.actions.shape == (4, 3 if warm else 5, 2)
    assert (made.actions >= LOW).all()
    assert (made.actions <= HIGH).all()
    assert not made.actions.requires_grad
    assert made.cost.shape == (4,)
    torch.testing.assert_close(made.cost, objective_of(ensemble, CAUTIOUS, made.actions))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 3), st.integers(0, 4), st.data())
@hypothesis_settings(max_examples=25)
def test_any_possible_settings_make_a_plan_that_is_never_worse_than_the_iteration_before(
    num_starts, horizon, num_resamples, iterations, data
):
    wall = Wall()
    choose = st.integers(1, num_starts)
    made = GradientPlanner(
        wall.action_low,
        wall.action_high,
        horizon=horizon,
        num_knots=data.draw(st.integers(1, 6)),
        num_starts=num_starts,
        num_resamples=num_resamples,
        num_elites=data.draw(choose),
        num_refined=data.draw(choose),
        iterations=iterations,
        lr=1.0,
        action_noise=data.draw(st.sampled_from([0.0, 0.3])),
    ).plan(OracleWorldModel(wall), EVERY_STEP, *tasks(3), generator=seeded())
    assert made.actions.shape == (3, horizon, 2)
    assert made.cost_per_iteration.shape == (iterations + 1,)
    assert (made.cost_per_iteration.diff() <= 0).all()
    torch.testing.assert_close(made.cost_per_iteration[-1], made.cost.mean())


def test_noise_keeps_the_best_iterate_not_the_last(ensemble):
    made = plan(ensemble, LAST_STEP, iterations=40, action_noise=1.0, lr=1e-6)
    assert (made.cost_per_iteration.diff() <= 0).all()
    assert (made.cost <= plan(ensemble, LAST_STEP, iterations=0).cost + 1e-6).all()


def test_without_iterations_the_best_sampled_sequence_is_the_plan(point_model):
    random, shape = seeded(), (4, 6, 5, 2)
    candidates = initial_actions("knots", shape, 4, random, torch.zeros(0))
    costs = torch.stack([objective_of(point_model(), LAST_STEP, HIGH * c) for c in candidates.unbind(1)], 1)
    made = plan(point_model(), LAST_STEP, num_resamples=0, iterations=0)
    torch.testing.assert_close(made.cost, costs.amin(1))
    torch.testing.assert_close(made.actions, HIGH * candidates[torch.arange(4), costs.argmin(1)])


def test_one_gradient_step_of_sgd_is_that_computed_by_hand(point_model):
    start, goal = tasks()
    made = plan(point_model(), LAST_STEP, **PLAIN, optimizer="sgd", lr=0.1, iterations=1)
    # cost = mean((start + Σ half_range · a - goal)²), so its derivative by each normalised action is
    gradient = HIGH * (start - goal)
    torch.testing.assert_close(made.actions, (HIGH * -0.1 * gradient).unsqueeze(1).expand(-1, 5, -1))


def test_resampling_around_the_elites_never_loses_the_best(point_model):
    few, many = (plan(point_model(), LAST_STEP, iterations=0, num_resamples=r).cost for r in (0, 4))
    assert (many <= few + 1e-6).all()
    assert many.mean() < few.mean()


def test_resampled_sequences_lie_around_the_elites(point_model):
    start, goal = tasks()
    model = point_model()
    problem = Problem(planner(), model, LAST_STEP, model.encode(start), model.encode(goal))
    settings = dict(num_starts=40, num_elites=1, num_refined=40, num_resamples=1, resample_scale=0.1)
    around = planner(**settings).sample(problem, None, seeded())
    first = initial_actions("knots", (4, 40, 5, 2), 4, seeded(), torch.zeros(0))
    elite = first[torch.arange(4), problem.score(first).argmin(1)].unsqueeze(1)
    distances = (around - elite).abs().flatten(2).amax(2)
    assert (distances <= 0.1 + 1e-6).all()
    assert ((distances == 0).sum(1) == 1).all()
    assert (distances.amax(1) > 0.08).all()


@pytest.mark.parametrize(
    "settings", [dict(), PLAIN, dict(num_starts=1, num_elites=1, num_refined=1), dict(iterations=0)]
)
@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_warm_start_decides_the_length_and_is_never_worsened(ensemble, settings, steps):
    warm_start = HIGH * (2 * torch.rand(4, steps, 2, generator=seeded()) - 1)
    before = warm_start.clone()
    made = plan(ensemble, CAUTIOUS, warm_start=warm_start, lr=3.0, **settings)
    assert made.actions.shape == (4, steps, 2)
    assert torch.equal(warm_start, before)
    assert (made.cost <= objective_of(ensemble, CAUTIOUS, warm_start) + 1e-5).all()


def test_the_optimum_as_a_warm_start_is_kept(point_model):
    best = fastest(*tasks(), horizon=7)
    made = plan(point_model(), EVERY_STEP, warm_start=best)
    torch.testing.assert_close(made.actions, best, atol=1e-6, rtol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_planning_together_is_planning_each_task_alone(ensemble, optimizer):
    settings = dict(init="zeros", optimizer=optimizer, num_starts=3, num_elites=2)
    start, goal = tasks()
    together = planner(**settings).plan(ensemble, CAUTIOUS, start, goal)
    for i in range(4):
        alone = planner(**settings).plan(ensemble, CAUTIOUS, start[i : i + 1], goal[i : i + 1])
        torch.testing.assert_close(together.actions[i], alone.actions[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.cost[i], alone.cost[0])


@pytest.mark.parametrize("action_noise", [0.0, 0.3])
@pytest.mark.parametrize("init", ["normal", "knots"])
def test_the_generator_alone_decides_the_plan(ensemble, init, action_noise):
    settings = dict(init=init, action_noise=action_noise)
    made = plan(ensemble, CAUTIOUS, seed=1, **settings)
    torch.rand(3)
    assert torch.equal(made.actions, plan(ensemble, CAUTIOUS, seed=1, **settings).actions)
    assert not torch.equal(made.actions, plan(ensemble, CAUTIOUS, seed=2, **settings).actions)


def test_the_world_model_is_left_as_it_was(ensemble):
    ensemble.train()
    next(ensemble.parameters()).requires_grad_(False)
    needed = [p.requires_grad for p in ensemble.parameters()]
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    plan(ensemble, CAUTIOUS)
    assert all(p.grad is None for p in ensemble.parameters())
    assert [p.requires_grad for p in ensemble.parameters()] == needed
    assert all(module.training for module in ensemble.modules())
    assert all(torch.equal(value, before[name]) for name, value in ensemble.state_dict().items())


def test_it_plans_also_where_gradients_are_switched_off(ensemble):
    with torch.no_grad():
        made = plan(ensemble, CAUTIOUS)
    assert torch.equal(made.actions, plan(ensemble, CAUTIOUS).actions)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_it_plans_for_no_tasks_at_all(ensemble):
    made = plan(ensemble, CAUTIOUS, n=0)
    assert made.actions.shape == (0, 5, 2)
    assert made.cost.shape == (0,)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(num_refined=7), ["planner.num_refined is 7", "planner.num_starts = 6"]),
        (dict(num_elites=7), ["planner.num_elites is 7", "planner.num_starts = 6"]),
    ],
)
def test_more_chosen_than_sampled_is_refused_by_name(settings, names):
    with pytest.raises(UserError) as error:
        planner(**settings)
    assert all(name in str(error.value) for name in names)


def test_elites_do_not_matter_where_nothing_is_resampled():
    assert planner(num_elites=7, num_resamples=0).num_starts == 6


@pytest.mark.parametrize(
    "wrong",
    [
        dict(horizon=0),
        dict(init="ones"),
        dict(num_knots=0),
        dict(num_starts=0),
        dict(num_resamples=-1),
        dict(num_elites=0),
        dict(resample_scale=-0.1),
        dict(num_refined=0),
        dict(iterations=-1),
        dict(optimizer="newton"),
        dict(lr=0.0),
        dict(lr=float("nan")),
        dict(action_noise=-0.1),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        planner(**wrong)
