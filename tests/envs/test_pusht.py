import math

import pytest
import torch

from gapclose.data.behaviours import Tour
from gapclose.data.collect import collect
from gapclose.envs.pusht import PushT
from gapclose.envs.pusht_expert import angle_between
from gapclose.errors import UserError

pytest.importorskip("gym_pusht")


@pytest.fixture(scope="module")
def pusht():
    return PushT()


@pytest.fixture(scope="module")
def tasks(pusht):
    return pusht.sample_tasks(100, torch.Generator().manual_seed(0))


def pose(x, y, degrees, agent=(50.0, 50.0)):
    """A state `[1, 8]` at rest."""
    angle = math.radians(degrees)
    return torch.tensor([[*agent, 0.0, 0.0, x, y, math.sin(angle), math.cos(angle)]])


def test_a_rollout_equals_repeated_steps(pusht, tasks):
    actions = 200 * torch.rand(10, 4, 10, generator=torch.Generator().manual_seed(1)) - 100
    states = pusht.rollout(tasks.start[:10], actions)
    state = tasks.start[:10]
    for step, action in enumerate(actions.unbind(1)):
        state = pusht.step(state, action)
        assert torch.equal(states[:, step + 1], state)


def test_a_block_of_actions_equals_several_shorter_steps(pusht, tasks):
    """Without contact, up to rounding; with contact, except for the velocity that a block loses at each new step."""
    single, generator = PushT(frameskip=10, action_block=1), torch.Generator().manual_seed(1)
    actions = pusht.expert_action(*tasks)
    found, shorter = pusht.step(tasks.start, actions), single.rollout(tasks.start, actions.unflatten(1, (5, 2)))[:, -1]
    assert (found - shorter)[:, :4].abs().max() < 1e-3
    assert (found - shorter)[:, 4:6].norm(dim=1).median() < 2
    free = pose(350.0, 350.0, 0).repeat(5, 1)
    actions = 20 * torch.randn(5, 10, generator=generator)
    assert torch.allclose(
        pusht.step(free, actions), single.rollout(free, actions.unflatten(1, (5, 2)))[:, -1], atol=1e-3
    )


def test_actions_beyond_the_bounds_are_clipped(pusht, tasks):
    start = tasks.start[:3]
    assert torch.equal(pusht.step(start, torch.full((3, 10), 999.0)), pusht.step(start, torch.full((3, 10), 100.0)))


def test_tasks_are_pairs_of_states_of_one_trajectory_and_not_solved_at_the_start(pusht, tasks):
    start, goal = tasks
    again = pusht.sample_tasks(100, torch.Generator().manual_seed(0))
    assert all(torch.equal(*pair) for pair in zip(tasks, again))
    pusht.validate_states(start, "start")
    pusht.validate_states(goal, "goal")
    assert not pusht.success(start, goal).any()
    pushed = (pusht.position(start) - pusht.position(goal)).norm(dim=1) > 20
    assert pushed.float().mean() > 0.7
    assert len(start.unique(dim=0)) == 100
    for n in (0, 1, 3):
        assert len(pusht.sample_tasks(n, torch.Generator().manual_seed(0)).start) == n


def test_goals_can_be_reached_in_the_given_time(pusht, tasks):
    """The expert's own trajectory reaches them; a task starts at the state after the approach."""
    generator = torch.Generator().manual_seed(0)
    state, destination = pusht.sample_states(100, generator), pusht.sample_states(100, generator)
    for step in range(4 + 5):
        if step == 4:
            start = state
        state = pusht.step(state, pusht.expert_action(state, destination))
    chosen = ~pusht.success(start, state)
    assert torch.equal(tasks.start[: chosen.sum()], start[chosen])
    assert torch.equal(tasks.goal[: chosen.sum()], state[chosen])


def test_success_is_defined_as_in_the_reference(pusht):
    """The joint error of agent and block is less than 20 px, and that of the block's angle less than 20 degrees."""
    goal = pose(200.0, 200.0, 170)
    for state, reached in [
        (pose(219.9, 200.0, 170), True),
        (pose(220.1, 200.0, 170), False),
        (pose(200.0, 200.0, 170, (69.9, 50)), True),
        (pose(200.0, 200.0, 170, (70.1, 50)), False),
        (pose(214.0, 200.0, 170, (50, 64)), True),
        (pose(214.3, 200.0, 170, (50, 64.3)), False),
        (pose(200.0, 200.0, -170.1), True),
        (pose(200.0, 200.0, -169.9), False),
        (pose(219.9, 200.0, 150.1), True),
    ]:
        assert pusht.success(state, goal).tolist() == [reached], state
    moving = goal.clone()
    moving[:, 2:4] = 500
    assert pusht.success(moving, goal).all()
    assert pusht.distance(pose(200.0, 230.0, 160), goal).item() == pytest.approx(30)
    assert pusht.distance(pose(200.0, 230.0, -150), goal).item() == pytest.approx(40, abs=1e-3)


def test_the_expert_pushes_the_block_to_its_goal(pusht):
    generator = torch.Generator().manual_seed(0)
    state, goal = pusht.sample_states(50, generator), pusht.sample_states(50, generator)
    reached = [pusht.success(state, goal).float().mean()]
    for _ in range(30):
        state = pusht.step(state, pusht.expert_action(state, goal))
        reached.append(pusht.success(state, goal).float().mean())
    assert reached[0] == 0
    assert reached[20] > 0.5
    assert reached[30] > 0.85


def test_the_expert_predicts_the_agents_path(pusht):
    """Far from the block, the agent is at its own goal after a few steps, however many actions a step has."""
    goal = pose(350.0, 350.0, 0, (120, 60))
    for simulator in (pusht, PushT(frameskip=10, action_block=1), PushT(frameskip=50, action_block=1)):
        state = pose(350.0, 350.0, 0)
        for _ in range(300 // (simulator.hold * simulator.action_block)):
            state = simulator.step(state, simulator.expert_action(state, goal))
        assert (state - goal)[:, :2].norm() < 2, simulator.settings


def test_data_show_contact_in_all_parts_of_a_trajectory(pusht):
    data = collect(pusht, Tour(0.1, 10), 30, 30, seed=0)
    moved = pusht.position(data.states).diff(dim=1).norm(dim=-1)
    turned = angle_between(data.states[:, :-1], data.states[:, 1:]).abs().rad2deg()
    contact = (moved > 0.5) | (turned > 0.5)
    assert all(third.float().mean() > 0.5 for third in contact.chunk(3, 1))
    assert moved.sum(1).median() > 300
    assert pusht.possible(data.states).all()
    low, high = pusht.state_low, pusht.state_high
    assert ((data.states >= low) & (data.states <= high)).all()


def test_impossible_states_are_refused(pusht):
    with pytest.raises(UserError, match=r"start has shape \[1, 2\]; expected \[N, 8\]"):
        pusht.validate_states(torch.zeros(1, 2), "start")
    for state in (
        pose(700.0, 200, 0),
        pose(200.0, 200, 0, (-1, 0)),
        2 * pose(200.0, 200, 0),
        torch.full((1, 8), torch.nan),
    ):
        with pytest.raises(
            UserError, match=r"goal .* is not possible: the agent and the block's centre of gravity must"
        ):
            pusht.validate_states(state, "goal")
    pusht.validate_states(pose(200.0, 200, 0), "goal")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(frameskip=50, action_block=3), "choose a multiple of 3"),
        (dict(goal_steps=7), "70 steps of the engine, and env.frameskip is 50"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        PushT(**settings)


def test_sampling_stops_if_nearly_all_tasks_are_solved_at_the_start():
    with pytest.raises(UserError, match=r"With env.goal_steps=1 and env.action_max=0.1, nearly every task is already"):
        PushT(10, 1, 0.1, 1).sample_tasks(3, torch.Generator().manual_seed(0))


def test_figures_show_block_and_agent(pusht):
    upright, turned = (pusht.figure(pose(100.0, 200.0, degrees))[0] for degrees in (0, 90))
    assert upright.shape == (14, 2, 2)
    assert torch.equal(upright[:8, 1], upright[:8, 0].roll(-1, 0))
    assert upright[:8, 0].amin(0).tolist() == [40, 200]
    assert upright[:8, 0].amax(0).tolist() == [160, 320]
    assert turned[:8, 0].amin(0).tolist() == pytest.approx([-20, 140], abs=1e-3)
    assert turned[8:].mean((0, 1)).tolist() == pytest.approx([50, 50], abs=1e-3)
    assert pusht.position(pose(100.0, 200.0, 90))[0].tolist() == pytest.approx([55, 200], abs=1e-3)
    assert pusht.figure(torch.zeros(3, 4, 8)).shape == (3, 4, 14, 2, 2)


def test_pictures_show_block_goal_and_arena(pusht, tasks):
    frames = pusht.render(tasks.start[:2], tasks.goal[:2])
    assert frames.shape == (2, 192, 192, 3)
    colors = frames.flatten(1, 2)
    for color, least in (((31, 119, 180), 200), ((144, 200, 144), 100), ((0, 0, 0), 500)):
        count = (colors == torch.tensor(color, dtype=torch.uint8)).all(-1).sum(1)
        assert (count > least).all(), (color, count)
