"""What no planner can do: settings, models, tasks and actions that are refused, warned of or left out."""

import pytest
import torch
from pydantic import ValidationError

from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.initialization import Zeros
from gapclose.planning.planner import require_choice
from tests.planning.conftest import (
    CAUTIOUS,
    HIGH,
    KINDS,
    LAST_STEP,
    LOW,
    make,
    objective_of,
    plan,
    random_plans,
    seeded,
    tasks,
)


@pytest.mark.parametrize("where", ["cost", "model"])
def test_tasks_with_nan_costs_do_not_affect_the_others(point_model, kind, where):
    """A NaN from the model or the objective, at one of the tasks."""
    start, goal = tasks()
    (goal if where == "cost" else start)[2] = torch.nan
    made = make(kind).plan(point_model(), LAST_STEP, start, goal, generator=seeded())
    sound = torch.tensor([0, 1, 3])
    torch.testing.assert_close(made.cost[sound], plan(make(kind), point_model(), LAST_STEP).cost[sound])
    assert ((made.actions >= LOW) & (made.actions <= HIGH)).all()
    assert made.cost[2] == torch.inf


def test_plans_without_finite_costs_are_warned_of(point_model, caplog):
    start, goal = tasks()
    make("cem").plan(point_model(), LAST_STEP, start, goal)
    assert not caplog.messages
    start[2] = torch.nan
    make("cem").plan(point_model(), LAST_STEP, start, goal)
    (message,) = caplog.messages
    assert message.startswith("For 1 of 4 tasks the world model predicts NaN or infinite values")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_with_only_nan_or_infinite_predictions_is_refused(point_model, kind, value):
    with pytest.raises(UserError, match=r"For 4 of 4 tasks .* NaN or infinite values.*learning rate"):
        plan(make(kind), point_model(gain=value), LAST_STEP)


def test_a_horizon_that_the_model_cannot_predict_is_refused(point_model):
    model = point_model()
    model.longest_rollout = 4
    with pytest.raises(UserError, match=r"planner\.horizon is 5, but the model predicts at most 4 steps"):
        plan(make("cem"), model, LAST_STEP)
    assert plan(make("cem", horizon=4), model, LAST_STEP).actions.shape == (4, 4, 2)
    assert plan(make("cem"), model, LAST_STEP, warm_start=random_plans(4, 1, 3)).actions.shape == (4, 3, 2)


def test_a_disagreement_penalty_without_an_ensemble_is_refused(point_model):
    with pytest.raises(UserError, match=r"single member; choose objective=goal, or model=ensemble"):
        plan(make("cem"), point_model(), CAUTIOUS)


def test_actions_with_nan_costs_are_not_chosen_and_do_not_end_the_search(point_model, kind):
    """The model predicts NaN for fast actions to the right."""

    class Ignorant(point_model):
        def step(self, latent, action):
            return super().step(latent, torch.where(action[:, :1] > 0.45, torch.nan, action))

    # With fewer samples, there could be fewer finite costs than elites.
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


def test_a_search_without_a_limit_is_refused(kind):
    with pytest.raises(UserError, match=r"planner\.iterations or planner\.seconds"):
        make(kind, iterations=None)


def test_choosing_more_than_the_candidates_is_refused_with_both_names_and_numbers():
    require_choice("planner.num_elites", 4, "planner.num_samples", 4)
    with pytest.raises(UserError, match=r"planner\.num_elites is 5.*planner\.num_samples = 4"):
        require_choice("planner.num_elites", 5, "planner.num_samples", 4)


def test_without_gradients_of_the_simulator_only_sampling_planners_can_use_it(engine, kind):
    planner, oracle = make(kind, engine.action_low, engine.action_high), OracleWorldModel(engine)
    if kind in ("gradient", "multistart", "grad_cem", "grasp"):
        with pytest.raises(UserError, match=r"the simulator, .* has none; choose a planner that only samples"):
            plan(planner, oracle, LAST_STEP)
        planner = make(kind, engine.action_low, engine.action_high, iterations=0)
    assert plan(planner, oracle, LAST_STEP).cost.isfinite().all()
