"""The wall environment except its steps: tasks, expert, pictures, and invalid settings and states."""

import pytest
import torch
from pydantic import ValidationError

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from tests.envs.conftest import WALLS, half_thickness, sample_actions, sample_states


@pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS.keys())
def test_crossing_tasks_have_start_and_goal_on_opposite_sides_clear_of_the_wall(wall):
    start, goal = wall.sample_tasks(500, torch.Generator().manual_seed(0))
    assert start.shape == goal.shape == (500, 2)
    start_depth, goal_depth = start[:, 0] - wall.wall_x, goal[:, 0] - wall.wall_x
    assert (start_depth * goal_depth < 0).all()
    assert 0.4 < (start_depth > 0).float().mean() < 0.6
    for states in (start, goal):
        assert ((states[:, 0] - wall.wall_x).abs() > half_thickness(wall)).all()
        wall.validate_states(states, "task")


@pytest.mark.parametrize("wall_x", [0.0, 1.0])
def test_tasks_of_kind_any_cover_the_whole_arena(wall_x):
    wall = Wall(task="any", wall_x=wall_x)
    start, goal = wall.sample_tasks(2000, torch.Generator().manual_seed(0))
    for states in (start, goal):
        wall.validate_states(states, "task")
        assert (states[:, 0] > wall_x).float().mean().item() == pytest.approx((2 - wall_x) / 4, abs=0.05)
        assert (states[:, 1] > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
        assert (states.amin(0) < -1.9).all()
        assert (states.amax(0) > 1.9).all()
    opposite = (start[:, 0] > wall_x) != (goal[:, 0] > wall_x)
    assert 0.3 < opposite.float().mean() < 0.6


@pytest.mark.parametrize("task", ["cross", "any"])
def test_tasks_depend_only_on_the_generator(task):
    wall = Wall(task=task)
    tasks = wall.sample_tasks(20, torch.Generator().manual_seed(3))
    torch.rand(7)
    again = wall.sample_tasks(20, torch.Generator().manual_seed(3))
    other = wall.sample_tasks(20, torch.Generator().manual_seed(4))
    assert torch.equal(tasks.start, again.start)
    assert torch.equal(tasks.goal, again.goal)
    assert not torch.equal(tasks.start, other.start)
    assert not torch.equal(tasks.start, tasks.goal)


@pytest.mark.parametrize("task", ["cross", "any"])
@pytest.mark.parametrize(("wall_x", "door"), [(0.0, (-0.5, 0.5)), (0.7, (0.5, 1.5)), (-1.3, (-2.0, -1.0))])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_expert_reaches_every_goal_and_stays(task, wall_x, door, noise):
    wall = Wall(task=task, wall_x=wall_x, door=door)
    random = torch.Generator().manual_seed(0)
    state, goal = wall.sample_tasks(500, random)
    previous = state
    # No path is longer than two diagonals of the arena.
    for _ in range(50):
        action = wall.expert_action(state, goal)
        assert (action >= wall.action_low).all()
        assert (action <= wall.action_high).all()
        previous, state = (
            state,
            wall.step(state, action + noise * wall.action_max * torch.randn(500, 2, generator=random)),
        )
    assert wall.success(state, goal).all()
    if not noise:
        assert torch.equal(previous, state)
        torch.testing.assert_close(state, goal, atol=1e-5, rtol=0)


@pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS.keys())
def test_the_expert_never_touches_the_wall(wall):
    state, goal = wall.sample_tasks(100, torch.Generator().manual_seed(1))
    # No path is longer than twice the arena's width and its height.
    for _ in range(int(8 * wall.arena / wall.action_max) + 4):
        action = wall.expert_action(state, goal)
        after = wall.step(state, action)
        torch.testing.assert_close(after, state + action, atol=1e-5, rtol=0)
        state = after
    torch.testing.assert_close(state, goal, atol=1e-4, rtol=0)


def test_distance_is_euclidean_and_success_within_the_radius():
    wall = Wall(success_radius=0.5)
    state = torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.3, 0.401], [1.0, 1.0]])
    goal = torch.zeros(4, 2)
    torch.testing.assert_close(wall.distance(state, goal), torch.tensor([0.0, 0.5, 0.5008, 1.4142]), atol=1e-4, rtol=0)
    assert wall.success(state, goal).tolist() == [True, True, False, False]
    assert wall.success(state.view(2, 2, 2), goal.view(2, 2, 2)).shape == (2, 2)
    assert torch.equal(wall.position(state), state)


def test_the_observation_is_the_state(wall):
    states = torch.rand(3, 2)
    assert torch.equal(wall.observe(states), states)


def test_the_outline_is_the_border_and_the_wall_without_the_door():
    wall = Wall(arena=3.0, wall_x=1.0, wall_thickness=0.5, door=(-0.25, 0.5))
    drawn = wall.outline()
    assert drawn.shape[1:] == (2, 2)
    segments = {tuple(sorted(map(tuple, segment))) for segment in drawn.tolist()}
    for face in (0.75, 1.25):
        assert ((face, -3.0), (face, -0.25)) in segments
        assert ((face, 0.5), (face, 3.0)) in segments
    for jamb in (-0.25, 0.5):
        assert ((0.75, jamb), (1.25, jamb)) in segments
    for side in (-3.0, 3.0):
        assert ((-3.0, side), (3.0, side)) in segments
        assert ((side, -3.0), (side, 3.0)) in segments
    assert drawn.abs().max() == 3.0
    # No line is drawn across the door.
    assert not any(low < 0.0 < high and abs(a) < 2 and a == b for (a, low), (b, high) in segments)


def position_of_pixels(mask, wall, size):
    rows, columns = mask.nonzero().double().mean(0)
    return (
        ((columns + 0.5) / size * 2 - 1).item() * wall.arena,
        (1 - (rows + 0.5) / size * 2).item() * wall.arena,
    )


@pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS.keys())
def test_pictures_show_point_goal_and_wall_where_they_are(wall):
    states = torch.tensor([[-1.6, 1.5], [1.5, -1.5]])
    frames = wall.render(states, states.flip(0))
    assert frames.dtype == torch.uint8
    assert frames.shape == (2, 96, 96, 3)
    blue = (frames == torch.tensor([31, 119, 180], dtype=torch.uint8)).all(-1)
    green = (frames == torch.tensor([144, 200, 144], dtype=torch.uint8)).all(-1)
    black = (frames == 0).all(-1)
    for i in range(2):
        assert position_of_pixels(blue[i], wall, 96) == pytest.approx(states[i].tolist(), abs=0.05)
        assert position_of_pixels(green[i], wall, 96) == pytest.approx(states[1 - i].tolist(), abs=0.05)
        ys = 2 - (black[i].nonzero()[:, 0] + 0.5) / 96 * 4
        assert len(ys)
        assert ((ys < wall.door[0]) | (ys > wall.door[1])).all()


def test_a_picture_without_a_goal_has_no_green_and_the_point_is_seen_in_every_corner(wall):
    corners = torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, 2.0], [2.0, -2.0], [0.001, 2.0]])
    frames = wall.render(corners, size=64)
    assert frames.shape == (5, 64, 64, 3)
    blue = (frames == torch.tensor([31, 119, 180], dtype=torch.uint8)).all(-1)
    assert (blue.flatten(1).sum(1) > 0).all()
    assert not (frames == torch.tensor([144, 200, 144], dtype=torch.uint8)).all(-1).any()


@pytest.mark.parametrize(
    ("states", "names"),
    [
        ([[1.0, 1.0], [2.5, -0.75]], ["start", "2.5", "-0.75", "outside the arena", "[-2, 2]"]),
        ([[1.0, -2.01]], ["start", "-2.01", "outside the arena"]),
        ([[0.0, 1.25]], ["start", "1.25", "inside the wall", "[-0.5, 0.5]"]),
        ([[0.04, -0.6]], ["start", "0.04", "-0.6", "inside the wall"]),
        ([[float("nan"), 1.0]], ["start", "nan", "not finite"]),
        ([[1.0, float("inf")]], ["start", "inf", "not finite"]),
        ([[1.0, 1.0, 1.0]], ["start", "[1, 3]", "[N, 2]"]),
    ],
)
def test_impossible_states_are_refused_by_a_message_that_names_them(wall, states, names):
    with pytest.raises(UserError) as error:
        wall.validate_states(torch.tensor(states), "start")
    for name in names:
        assert name in str(error.value)


def test_states_in_the_door_and_at_the_border_are_possible(wall):
    wall.validate_states(torch.tensor([[0.0, 0.0], [0.0, 0.5], [2.0, -2.0], [-half_thickness(wall), 1.0]]), "start")
    wall.validate_states(torch.empty(0, 2), "start")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (dict(action_max=-0.25), "action_max"),
        (dict(action_max=0), "action_max"),
        (dict(action_max=float("nan")), "action_max"),
        (dict(action_max=float("inf")), "action_max"),
        (dict(arena=-2.0), "arena"),
        (dict(wall_thickness=-0.1), "wall_thickness"),
        (dict(success_radius=0.0), "success_radius"),
        (dict(task="nowhere"), "task"),
        (dict(door=(0.5,)), "door"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, name):
    with pytest.raises(ValidationError, match=name):
        Wall(**settings)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(door=(0.5, 0.5)), ["door", "[0.5, 0.5]"]),
        (dict(door=(0.5, -0.5)), ["door", "[0.5, -0.5]"]),
        (dict(door=(1.5, 2.5)), ["door", "[1.5, 2.5]", "[-2, 2]"]),
        (dict(wall_x=2.5), ["wall_x", "2.5"]),
        (dict(wall_x=-1.95), ["wall_x", "-1.95"]),
        (dict(wall_thickness=5.0), ["wall_thickness", "5"]),
    ],
)
def test_a_wall_or_door_outside_the_arena_is_refused_by_its_values(settings, names):
    with pytest.raises(UserError) as error:
        Wall(**settings)
    for name in names:
        assert name in str(error.value)


def test_the_settings_make_the_same_simulator():
    wall = WALLS["off centre"]
    twin = Wall(**wall.settings)
    random = torch.Generator().manual_seed(0)
    states, actions = sample_states(wall, 64, random), sample_actions(wall, (64,), random)
    assert twin.settings == wall.settings
    assert torch.equal(twin.step(states, actions), wall.step(states, actions))
    assert Wall(arena=2).settings == Wall(arena=2.0).settings


def test_states_are_possible_in_the_arena_and_off_the_wall(wall):
    states = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.1, 1.0], [0.0, 2.1]], [[2.0, 2.0], [-2.1, 0.0]]])
    assert wall.possible(states).tolist() == [[True, False]] * 3
