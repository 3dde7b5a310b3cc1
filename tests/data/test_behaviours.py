import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.data.behaviours import Behaviour, Expert, Mixture, RandomWalk, Tour
from gapclose.data.collect import collect
from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.envs.wall import Wall
from gapclose.errors import UserError

BEHAVIOURS = {
    "expert": Expert(0.3),
    "tour": Tour(0.3, 5),
    "random_walk": RandomWalk(),
    "mixture": Mixture(dict(expert=Expert(), walk=RandomWalk()), dict(expert=1, walk=2)),
}


def stopped(wall, data):
    """Whether each step was stopped by the wall or a jamb of its door: bool `[N, T]`."""
    free = (data.states[:, :-1] + data.actions).clamp(-wall.arena, wall.arena)
    return ((data.states[:, 1:] - free).abs() > 1e-5).any(-1)


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS)
def test_collected_states_follow_from_the_collected_actions(wall, behaviour):
    data = collect(wall, behaviour, num_trajectories=30, steps=12, seed=0)
    assert data.states.shape == (30, 13, 2)
    assert data.actions.shape == (30, 12, 2)
    assert torch.equal(wall.rollout(data.states[:, 0], data.actions), data.states)
    assert (data.actions >= wall.action_low).all()
    assert (data.actions <= wall.action_high).all()


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS)
def test_data_depend_only_on_the_seed_and_all_behaviours_share_the_tasks(wall, behaviour):
    one = collect(wall, behaviour, num_trajectories=10, steps=3, seed=1)
    torch.rand(5)
    assert torch.equal(one.actions, collect(wall, behaviour, num_trajectories=10, steps=3, seed=1).actions)
    other = collect(wall, behaviour, num_trajectories=10, steps=3, seed=2)
    assert not torch.equal(one.actions, other.actions)
    tasks = wall.sample_tasks(10, torch.Generator().manual_seed(1))
    assert torch.equal(one.states[:, 0], tasks.start)


def test_expert_data_equal_those_of_the_published_figures(wall):
    generator = torch.Generator().manual_seed(3)
    state, goal = wall.sample_tasks(50, generator)
    states, actions = [state], []
    for _ in range(20):
        noise = 0.1 * (wall.action_high - wall.action_low) / 2 * torch.randn(50, 2, generator=generator)
        actions.append((wall.expert_action(states[-1], goal) + noise).clamp(wall.action_low, wall.action_high))
        states.append(wall.step(states[-1], actions[-1]))
    data = collect(wall, Expert(action_noise=0.1), num_trajectories=50, steps=20, seed=3)
    assert torch.equal(data.states, torch.stack(states, 1))
    assert torch.equal(data.actions, torch.stack(actions, 1))


def test_without_noise_the_actions_are_those_of_the_scripted_expert(wall):
    data = collect(wall, Expert(0.0), num_trajectories=30, steps=40, seed=5)
    tasks = wall.sample_tasks(30, torch.Generator().manual_seed(5))
    assert wall.success(data.states[:, -1], tasks.goal).all()
    for t in (0, 7, 39):
        assert torch.equal(data.actions[:, t], wall.expert_action(data.states[:, t], tasks.goal))


def test_noise_is_a_fraction_of_the_action_bounds():
    wall = Wall(action_max=0.5)
    data = collect(wall, Expert(0.1), num_trajectories=400, steps=40, seed=0)
    goal = wall.sample_tasks(400, torch.Generator().manual_seed(0)).goal
    # At the goal, the expert only corrects the noise of the step before.
    noise = data.actions[:, -1] - wall.expert_action(data.states[:, -2], goal)
    assert noise.std().item() == pytest.approx(0.05, rel=0.1)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_a_random_walk_is_stationary_with_the_given_correlation(correlation):
    wall = Wall(action_max=0.5)
    # The actions are so small that none is clipped.
    data = collect(wall, RandomWalk(correlation, std=0.1), num_trajectories=4000, steps=12, seed=0)
    actions = data.actions / 0.05
    assert actions.mean().abs() < 0.03
    for t in (0, 5, 11):
        assert actions[:, t].std().item() == pytest.approx(1, rel=0.05)
    for lag in (1, 3):
        correlated = (actions[:, lag:] * actions[:, :-lag]).mean().item()
        assert correlated == pytest.approx(correlation**lag, abs=0.03)


def test_more_noise_hits_the_wall_more_often_and_a_random_walk_most_often(wall):
    behaviours = (Expert(0.1), Expert(0.5), BEHAVIOURS["mixture"], RandomWalk())
    shares = [stopped(wall, collect(wall, of, 500, 30, seed=0)).float().mean() for of in behaviours]
    assert shares == sorted(shares)
    assert shares[0] < 0.001 < 0.005 < shares[1] < 0.03 < 0.05 < shares[3]


class Constant(Behaviour):
    """Always the same action."""

    name = "constant"

    def __init__(self, value: float) -> None:
        self.value, self.settings = value, dict(value=value)

    def policy(self, simulator, goal, generator):
        return lambda state: torch.full((len(state), simulator.action_dim), self.value)


@given(st.lists(st.floats(0.02, 1), min_size=1, max_size=4), st.integers(10, 300))
def test_every_split_of_a_mixture_has_the_configured_shares(shares, n):
    names = [f"part {number}" for number in range(len(shares))]
    parts = {name: Constant(number / 20) for number, name in enumerate(names)}
    data = collect(Wall(), Mixture(parts, dict(zip(names, shares))), n, steps=1, seed=0)
    owners = (data.actions[:, 0, 0] * 20).round().long()
    for _, piece in split(Trajectories(data.states, owners)):
        counts = piece.bincount(minlength=len(shares))
        expected = len(piece) * torch.tensor(shares) / sum(shares)
        assert (counts - expected).abs().max() <= 2


def test_a_mixture_of_a_single_part_equals_that_part(wall):
    alone = collect(wall, Expert(0.2), num_trajectories=12, steps=5, seed=4)
    mixed = collect(wall, Mixture(dict(only=Expert(0.2)), dict(only=3)), num_trajectories=12, steps=5, seed=4)
    assert torch.equal(mixed.states, alone.states)


def test_a_tour_goes_to_its_own_goals_first_and_then_to_others(wall):
    alone = collect(wall, Expert(0.0), 30, steps=100, seed=0)
    tour = collect(wall, Tour(0.0, steps_per_goal=50), 30, steps=100, seed=0)
    assert torch.equal(tour.states[:, :51], alone.states[:, :51])
    goal = wall.sample_tasks(30, torch.Generator().manual_seed(0)).goal
    near = (tour.states[:, -1, None] - goal).norm(dim=-1)
    arrived_at = near.argmin(1)
    assert near.amin(1).max() < 0.1
    assert (arrived_at != torch.arange(30)).float().mean() > 0.8
    assert sorted(arrived_at.tolist()) == list(range(30))
    again = collect(wall, Tour(0.0, steps_per_goal=50), 30, steps=100, seed=0)
    assert torch.equal(tour.states, again.states)


def test_each_trajectory_of_a_mixture_goes_to_its_own_goal(wall):
    data = collect(wall, Mixture(dict(a=Expert(0.0), b=Expert(0.0)), dict(a=2, b=1)), 30, steps=40, seed=0)
    assert torch.equal(data.states, collect(wall, Expert(0.0), 30, steps=40, seed=0).states)


def test_the_order_in_which_a_mixture_is_written_does_not_matter(wall):
    first = Mixture(dict(a=Expert(), b=RandomWalk()), dict(a=1, b=3))
    reordered = Mixture(dict(b=RandomWalk(), a=Expert()), dict(b=0.75, a=0.25))
    assert first.settings == reordered.settings
    assert torch.equal(collect(wall, first, 10, 3, seed=0).actions, collect(wall, reordered, 10, 3, seed=0).actions)


@pytest.mark.parametrize("shares", [dict(a=1), dict(a=1, c=1), {}, dict(a=1, b=1, c=1)], ids=str)
def test_a_part_without_a_share_is_refused(shares):
    with pytest.raises(UserError, match="parts a, b and shares"):
        Mixture(dict(a=Expert(), b=RandomWalk()), shares)


@pytest.mark.parametrize(
    ("behaviour", "wrong"),
    [
        (Expert, dict(action_noise=-0.1)),
        (Tour, dict(steps_per_goal=0)),
        (RandomWalk, dict(correlation=1.0)),
        (RandomWalk, dict(correlation=-0.1)),
        (RandomWalk, dict(std=0)),
        (RandomWalk, dict(std=float("inf"))),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(behaviour, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        behaviour(**wrong)


def test_a_share_of_zero_is_refused():
    with pytest.raises(ValidationError, match="shares"):
        Mixture(parts=dict(a=Expert(), b=RandomWalk()), shares=dict(a=1, b=0))
