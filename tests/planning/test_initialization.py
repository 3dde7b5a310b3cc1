from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.cem import CEMPlanner
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Colored, Knots, Normal, PolicyRollouts, Zeros, colored_noise, hold
from gapclose.planning.search import Bounds, Budget, Search
from tests.planning.conftest import HIGH, LAST_STEP, LOW, search_with, seeded, tasks

RANDOM = [Normal(), Knots(3), Colored(2.0)]


def search_of(n, steps, action_dim=2, seed=0, dtype=torch.float32):
    """A search of which only the shape and the generator are used."""
    start, bound = torch.zeros(n, 1, 2, dtype=dtype), torch.ones(action_dim)
    return Search(None, None, start, start, steps, Bounds(-bound, bound), Budget(1), seeded(seed))


def runs(sequence):
    """Lengths of the constant pieces of a sequence."""
    return [len(list(piece)) for _, piece in groupby(sequence.tolist())]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_knots_are_constant_over_equal_parts_of_the_horizon_and_uniform_within_the_bounds(steps, num_knots, seed):
    actions = Knots(num_knots).draw(search_of(3, steps, seed=seed), 2)
    assert actions.shape == (3, 2, steps, 2)
    assert actions.abs().max() <= 1
    pieces = min(steps, num_knots)
    for sequence in actions.movedim(2, -1).flatten(0, 2):
        lengths = runs(sequence)
        assert len(lengths) == pieces
        assert max(lengths) - min(lengths) <= 1


def test_knots_cover_the_whole_action_range_independently():
    actions = Knots(2).draw(search_of(1, 8), 4000).squeeze(0)
    first, second = actions[:, 0], actions[:, -1]
    for x in (first, second):
        assert x.mean().abs() < 0.05
        assert x.var().item() == pytest.approx(1 / 3, rel=0.05)
        assert x.amin() < -0.99
        assert x.amax() > 0.99
    assert (first * second).mean().abs() < 0.03
    assert (first[:, 0] * first[:, 1]).mean().abs() < 0.03


def test_a_knot_is_held_until_the_next_one():
    knots = torch.tensor([[1.0], [2.0]])
    assert hold(knots, 6).flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert hold(knots, 5).flatten().tolist() == [1, 1, 1, 2, 2]
    assert hold(knots, 1).flatten().tolist() == [1]


def test_normal_actions_are_independent_standard_gaussians():
    actions = Normal().draw(search_of(1, 4), 3000).squeeze(0)
    assert actions.mean().abs() < 0.02
    assert actions.std().item() == pytest.approx(1.0, rel=0.02)
    assert (actions[:, 0] * actions[:, 1]).mean().abs() < 0.05


def test_zeros_are_zero():
    assert torch.equal(Zeros().draw(search_of(2, 4, action_dim=1), 3), torch.zeros(2, 3, 4, 1))


@pytest.mark.parametrize("init", [Zeros(), *RANDOM], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_draws_have_the_shape_and_type_of_the_search(init, steps, k):
    actions = init.draw(search_of(4, steps, dtype=torch.float64), k)
    assert actions.shape == (4, k, steps, 2)
    assert actions.dtype == torch.float64


@pytest.mark.parametrize("init", RANDOM, ids=lambda x: type(x).__name__)
def test_draws_depend_only_on_the_generator(init):
    actions = init.draw(search_of(5, 6, seed=1), 2)
    torch.rand(3)
    assert torch.equal(actions, init.draw(search_of(5, 6, seed=1), 2))
    assert not torch.equal(actions, init.draw(search_of(5, 6, seed=2), 2))


@pytest.mark.parametrize("init", RANDOM, ids=lambda x: type(x).__name__)
def test_all_tasks_share_the_random_numbers_whatever_their_number(init):
    many, one = (init.draw(search_of(n, 6), 3) for n in (5, 1))
    assert torch.equal(many, one.expand(5, -1, -1, -1))
    assert not torch.equal(one[:, 0], one[:, 1])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 12, 13, 30])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 4.0])
def test_coloured_noise_has_mean_0_and_variance_1_at_every_step(steps, exponent):
    noise = colored_noise(search_of(1, steps), 10_000, exponent).squeeze(0)
    assert noise.shape == (10_000, steps, 2)
    torch.testing.assert_close(noise.mean(0), torch.zeros(steps, 2), atol=0.05, rtol=0)
    torch.testing.assert_close(noise.var(0), torch.ones(steps, 2), atol=0.06, rtol=0)
    assert (noise[..., 0] * noise[..., 1]).mean().abs() < 0.05


@pytest.mark.parametrize("steps", [15, 16])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_coloured_noise_has_the_configured_spectrum(steps, exponent):
    noise = colored_noise(search_of(1, steps), 10_000, exponent)
    power = torch.fft.rfft(noise, dim=2).abs().square().mean((0, 1, 3))
    frequencies = torch.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1]
    expected = frequencies**-exponent
    torch.testing.assert_close(power / power[1], expected / expected[1], rtol=0.06, atol=0)


def test_noise_of_exponent_0_is_white_and_larger_exponents_are_slower():
    neighbours = []
    for exponent in (0.0, 1.0, 2.0, 4.0):
        noise = colored_noise(search_of(1, 20), 5000, exponent)
        neighbours.append((noise[:, :, 1:] * noise[:, :, :-1]).mean().item())
    assert abs(neighbours[0]) < 0.01
    assert neighbours == sorted(neighbours)
    assert neighbours[-1] > 0.9


class Straight(nn.Module):
    """The perfect policy for z' = z + a: to the goal as fast as the bounds permit."""

    def forward(self, state, goal):
        return (goal - state) / HIGH


class Drunk(nn.Module):
    """An arbitrary policy."""

    def forward(self, state, goal):
        return torch.sin(3 * state) - 0.5 * goal


def rollouts(policy, noise=0.3):
    init = PolicyRollouts(noise)
    init.policy = policy
    return init


def test_the_first_policy_rollout_is_the_policys_own(point_model):
    model = point_model(gain=0.7)
    actions = rollouts(Drunk()).draw(search_with(model), 3)
    state, goal = tasks()
    for t in range(5):
        expected = Drunk()(state, goal).clamp(-1, 1)
        torch.testing.assert_close(actions[:, 0, t], expected)
        state = state + 0.7 * HIGH * expected


def test_further_policy_rollouts_add_noise_to_the_policy_in_the_states_that_they_reach(point_model):
    actions = rollouts(Drunk(), noise=0.05).draw(search_with(point_model()), 400)
    start, goal = (x.unsqueeze(1) for x in tasks())
    states = torch.cat((start.unsqueeze(2).expand(-1, 400, -1, -1), start.unsqueeze(2) + (HIGH * actions).cumsum(2)), 2)
    noise = actions - Drunk()(states[:, :, :-1], goal.unsqueeze(2))
    inside = actions.abs() < 1
    assert noise[:, 0][inside[:, 0]].abs().max() < 1e-5
    assert noise[:, 1:][inside[:, 1:]].std().item() == pytest.approx(0.05, rel=0.05)
    assert actions.abs().max() <= 1


def test_policy_rollouts_of_an_ensemble_follow_the_members_mean(ensemble):
    search = search_with(ensemble)
    actions = rollouts(Drunk()).draw(search, 1).squeeze(1)
    latents = ensemble.rollout(search.start, HIGH * actions)
    states = ensemble.decode(latents)[:, :-1]
    goal = ensemble.decode(search.goal).unsqueeze(1)
    torch.testing.assert_close(actions, Drunk()(states, goal).clamp(-1, 1), atol=1e-4, rtol=0)


def test_policy_rollouts_count_as_calls_of_the_model_and_have_no_gradients(point_model):
    search = search_with(point_model())
    actions = rollouts(nn.Bilinear(2, 2, 2)).draw(search, 3)
    assert search.model_calls == 4 * 3 * 5
    assert not actions.requires_grad
    assert rollouts(Drunk()).draw(search_with(point_model()), 0).shape == (4, 0, 5, 2)


@pytest.mark.parametrize("planner", [CEMPlanner, GradientPlanner])
def test_a_perfect_policy_plans_without_a_single_iteration(point_model, planner):
    made = planner(action_low=LOW, action_high=HIGH, init=rollouts(Straight()), horizon=9, iterations=0).plan(
        point_model(), LAST_STEP, *tasks(), generator=seeded()
    )
    assert made.cost.max() < 1e-10


def test_the_expert_as_a_policy_goes_through_the_door():
    wall = Wall()

    class Expert(nn.Module):
        def forward(self, state, goal):
            return wall.expert_action(state, goal) / wall.action_high

    start, goal = wall.sample_tasks(20, seeded())
    bounds = dict(action_low=wall.action_low, action_high=wall.action_high)
    made = GradientPlanner(**bounds, init=rollouts(Expert()), horizon=30, iterations=0).plan(
        OracleWorldModel(wall), LAST_STEP, start, goal
    )
    assert wall.success(wall.rollout(start, made.actions)[:, -1], goal).all()


@pytest.mark.parametrize(
    ("init", "wrong"),
    [(Knots, dict(num_knots=0)), (Colored, dict(exponent=-1)), (PolicyRollouts, dict(noise=-0.1))],
)
def test_impossible_settings_are_refused_by_name(init, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        init(**wrong)
