import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.initialization import Knots
from tests.planning.conftest import (
    CAUTIOUS,
    EVERY_STEP,
    HIGH,
    LAST_STEP,
    make,
    objective_of,
    plan,
    random_plans,
    search_with,
    seeded,
    tasks,
)

PERTURBED = dict(num_perturbations=32, perturbation=0.3)


def multistart(**changes):
    return make("multistart", **dict(init=Knots(4)) | changes)


def first_samples(model, k):
    """The first samples, and their costs."""
    candidates = Knots(4).draw(search_with(model), k)
    costs = torch.stack([objective_of(model, LAST_STEP, HIGH * x) for x in candidates.unbind(1)], 1)
    return candidates, costs


def descended_from(planner, search, warm_start=None):
    """The sequences from which descent starts."""
    starts = []
    planner.descend = lambda _, x: starts.append(x)
    planner.search(search, warm_start)
    return starts[0]


def test_it_finds_the_path_through_the_door_that_a_single_start_does_not():
    wall = Wall()
    start, goal = wall.sample_tasks(20, seeded(1))
    bounds = dict(low=wall.action_low, high=wall.action_high, horizon=30, iterations=20)
    planners = dict(
        many=multistart(**bounds, num_samples=64, num_elites=8, num_resamples=2),
        one=make("gradient", **bounds, num_starts=1),
    )
    reached = {}
    for name, planner in planners.items():
        made = planner.plan(OracleWorldModel(wall), LAST_STEP, start, goal, generator=seeded())
        reached[name] = wall.success(wall.rollout(start, made.actions)[:, -1], goal).float().mean()
    assert reached["many"] >= 0.8
    assert reached["one"] < 0.5


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 3), st.integers(0, 4), st.data())
@hypothesis_settings(max_examples=25)
def test_any_possible_settings_make_a_plan_that_is_never_worse_than_the_iteration_before(
    num_samples, horizon, num_resamples, iterations, data
):
    wall = Wall()
    choose = st.integers(1, num_samples)
    made = multistart(
        low=wall.action_low,
        high=wall.action_high,
        horizon=horizon,
        num_knots=data.draw(st.integers(1, 6)),
        num_samples=num_samples,
        num_resamples=num_resamples,
        num_elites=data.draw(choose),
        num_starts=data.draw(choose),
        iterations=iterations,
        lr=1.0,
        action_noise=data.draw(st.sampled_from([0.0, 0.3])),
    ).plan(OracleWorldModel(wall), EVERY_STEP, *tasks(3), generator=seeded())
    assert made.actions.shape == (3, horizon, 2)
    assert made.cost_per_iteration.shape == (1 + num_resamples + iterations + 1,)
    assert (made.cost_per_iteration.diff() <= 0).all()
    torch.testing.assert_close(made.cost_per_iteration[-1], made.cost.mean())


def test_without_iterations_the_best_sampled_sequence_is_the_plan(point_model):
    candidates, costs = first_samples(point_model(), 6)
    made = plan(multistart(num_resamples=0, iterations=0), point_model(), LAST_STEP)
    torch.testing.assert_close(made.cost, costs.amin(1))
    torch.testing.assert_close(made.actions, HIGH * candidates[torch.arange(4), costs.argmin(1)])


def test_descent_starts_from_the_best_samples(point_model):
    candidates, costs = first_samples(point_model(), 20)
    planner = multistart(num_samples=20, num_starts=3, num_resamples=0)
    starts = descended_from(planner, search_with(point_model()))
    best = costs.argsort(1)[:, :3]
    torch.testing.assert_close(starts, candidates[torch.arange(4)[:, None], best])


def test_resampling_around_the_elites_never_loses_the_best(point_model):
    few, many = (
        plan(multistart(num_samples=16, iterations=0, num_resamples=r), point_model(), LAST_STEP).cost for r in (0, 4)
    )
    assert (many <= few + 1e-6).all()
    assert many.mean() < few.mean()


def test_resampled_sequences_lie_around_the_elites(point_model):
    candidates, costs = first_samples(point_model(), 40)
    settings = dict(num_samples=40, num_elites=1, num_starts=40, num_resamples=1, resample_scale=0.1)
    around = descended_from(multistart(**settings), search_with(point_model()))
    elite = candidates[torch.arange(4), costs.argmin(1)].unsqueeze(1)
    distances = (around - elite).abs().flatten(2).amax(2)
    assert (distances <= 0.1 + 1e-6).all()
    assert ((distances == 0).sum(1) == 1).all()
    assert (distances.amax(1) > 0.08).all()


@pytest.mark.parametrize("sequences", [1, 2, 3, 6, 9])
def test_samples_are_distributed_over_the_sequences_of_a_warm_start_which_are_kept(point_model, sequences):
    warm_start = random_plans(4, sequences, 5) / HIGH
    search = search_with(point_model())
    around = multistart(resample_scale=0.05).resample(search, warm_start)
    kept = min(sequences, 6)
    assert torch.equal(around[:, :kept], warm_start[:, :kept])
    nearest = (around.unsqueeze(2) - warm_start.unsqueeze(1)).abs().amax((3, 4))
    assert nearest.argmin(2).tolist() == [[i % sequences for i in range(6)]] * 4
    assert (nearest.amin(2)[:, kept:] > 0).all()


def test_noise_around_a_warm_start_is_constant_between_knots(point_model):
    around = multistart(num_knots=2, num_samples=20).resample(
        search_with(point_model(), steps=6), torch.zeros(4, 1, 6, 2)
    )
    assert (around.diff(dim=2)[:, :, [0, 1, 3, 4]] == 0).all()
    assert (around.diff(dim=2)[:, 1:, 2] != 0).all()


def test_with_a_warm_start_there_is_one_round_of_sampling_around_it(point_model):
    made = plan(multistart(num_resamples=3), point_model(), LAST_STEP, warm_start=random_plans(4, 1, 5))
    assert made.model_calls == 4 * 5 * (6 + 4 * 2 * 2 + 2)
    assert len(made.cost_per_iteration) == 1 + 4 + 1


def test_calls_of_the_model_are_counted_forward_and_backward(ensemble):
    made = plan(multistart(num_resamples=2), ensemble, CAUTIOUS)
    assert made.model_calls == 4 * 5 * (3 * 6 + 4 * 2 * 2 + 2)


def test_perturbations_choose_among_the_sequences_descended_from(ensemble):
    settings = dict(num_samples=20, num_starts=4)
    cheapest, safest = (plan(multistart(**settings, **more), ensemble, CAUTIOUS) for more in ({}, PERTURBED))
    assert (safest.cost >= cheapest.cost).all()
    assert (safest.cost > cheapest.cost).any()
    assert safest.model_calls == cheapest.model_calls + 4 * 5 * 4 * 32
    search = search_with(ensemble, CAUTIOUS)
    noise = PERTURBED["perturbation"] * search.normal(400)
    expected = search.perturbed_costs(torch.stack((cheapest.actions, safest.actions), 1) / HIGH, noise).mean(0)
    assert expected[1] < expected[0]


@pytest.mark.parametrize("name", ["num_starts", "num_elites"])
def test_more_chosen_than_sampled_is_refused_by_name(name):
    with pytest.raises(UserError, match=rf"planner\.{name} is 7.*planner\.num_samples = 6"):
        multistart(**{name: 7})
