import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.envs.wall import TOUCH, Wall
from gapclose.errors import UserError

WALLS = {
    "default": Wall(),
    "small steps": Wall(action_max=0.01),
    "steps longer than the arena": Wall(action_max=10.0),
    "off centre": Wall(wall_x=0.7, door=(1.0, 1.3), action_max=0.5),
    "door at the border": Wall(wall_x=-1.3, door=(-2.0, -1.9), action_max=1.0),
    "narrow door": Wall(door=(0.1, 0.101)),
    "thin": Wall(wall_x=1.3, wall_thickness=0.001, action_max=1.0),
    "thick": Wall(wall_x=-0.3, wall_thickness=1.0),
}
walls = st.sampled_from(list(WALLS)).map(WALLS.get)
dtypes = st.sampled_from([torch.float32, torch.float64])
seeds = st.integers(0, 2**32)


def half_thickness(wall):
    return wall.settings["wall_thickness"] / 2


def sample_states(wall, n, random, dtype=torch.float32):
    """Possible states, most of them where it matters: at the wall's faces, in the door, at the border."""
    x, y = (wall.arena * (2 * torch.rand(2, n, generator=random, dtype=dtype) - 1)).unbind()
    half, (low, high) = half_thickness(wall), wall.door
    where = torch.randint(6, (n,), generator=random)
    side = torch.where(x >= wall.wall_x, 1.0, -1.0).to(dtype)
    u = torch.rand(3, n, generator=random, dtype=dtype)
    x = torch.where(where == 1, wall.wall_x + side * half, x)
    x = torch.where(where == 2, wall.wall_x + side * (half + 0.1 * u[0]), x)
    in_door = (where == 3) | (where == 5)
    y = torch.where(in_door, (low + (high - low) * u[1]).clamp(low, high), y)
    x = torch.where(in_door, wall.wall_x + half * (2 * u[2] - 1), x)
    x = torch.where(where == 5, wall.wall_x, x)
    y = torch.where(where == 4, wall.arena * torch.sign(y), y)
    inside = ((x - wall.wall_x).abs() < half) & ((y < low) | (y > high))
    return torch.stack((torch.where(inside, wall.wall_x + side * half, x), y), -1)


def sample_actions(wall, shape, random, dtype=torch.float32):
    """Actions of all sizes: within the bounds, on them, beyond them, zero, and along one axis."""
    actions = wall.action_max * torch.randn(*shape, 2, generator=random, dtype=dtype)
    size = torch.tensor([0.0, 0.05, 0.5, 1.0, 20.0])[torch.randint(5, (*shape, 1), generator=random)]
    return actions * size.to(dtype) * (torch.rand(*shape, 2, generator=random) < 0.9)


def meeting_height(wall, state, action, dtype):
    """Where the straight path of one step crosses the wall's centre line, exactly; None where it does not."""
    line = Fraction(torch.tensor(wall.wall_x, dtype=dtype).item())
    bound = Fraction(torch.tensor(wall.action_max, dtype=dtype).item())
    x, y = (Fraction(v) for v in state.tolist())
    dx, dy = (min(max(Fraction(v), -bound), bound) for v in action.tolist())
    depth = x - line
    if depth == 0 or depth * (depth + dx) >= 0:
        return None
    return y + dy * (-depth / dx)


def entry_height(wall, state, action, dtype):
    """Where the straight path of a step first is between the wall's faces, in exact arithmetic; none if nowhere."""
    bound = Fraction(torch.tensor(wall.action_max, dtype=dtype).item())
    x, y = (Fraction(v) for v in state.tolist())
    dx, dy = (min(max(Fraction(v), -bound), bound) for v in action.tolist())
    depth = x - Fraction(torch.tensor(wall.wall_x, dtype=dtype).item())
    half = Fraction(half_thickness(wall)) - Fraction(TOUCH) * Fraction(wall.arena)
    if abs(depth) < half:
        return y
    if dx == 0 or depth * dx > 0 or abs(dx) <= abs(depth) - half:
        return None
    height = y + dy * (abs(depth) - half) / abs(dx)
    return min(max(height, -Fraction(wall.arena)), Fraction(wall.arena))


def between(wall, y, margin=0.0):
    return wall.door[0] - margin <= y <= wall.door[1] + margin


@given(walls, dtypes, seeds)
def test_whole_rollouts_change_sides_exactly_where_a_straight_step_passes_the_door(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    n, steps = 12, 12
    actions = sample_actions(wall, (n, steps), random, dtype)
    states = wall.rollout(sample_states(wall, n, random, dtype), actions)
    depths = states[..., 0] - torch.tensor(wall.wall_x, dtype=dtype)
    for i in range(n):
        for t in range(steps):
            before, after = depths[i, t].item(), depths[i, t + 1].item()
            crosses = meeting_height(wall, states[i, t], actions[i, t], dtype) is not None
            height = entry_height(wall, states[i, t], actions[i, t], dtype)
            if not crosses:
                assert before * after >= 0, f"changed sides without a path across: {states[i, t : t + 2]}"
            elif between(wall, height, -1e-4):
                assert before * after <= 0, f"the door was closed: {states[i, t : t + 2]}"
            elif not between(wall, height, 1e-4):
                assert before * after > 0, f"tunnelled at y = {float(height)}: {states[i, t : t + 2]}"


def enters(wall, state, new, margin=1e-4):
    """Whether the straight way between two states enters the wall by more than a trifle, by clipping it to boxes."""
    half = half_thickness(wall) - margin
    for low, high in ((-math.inf, wall.door[0] - margin), (wall.door[1] + margin, math.inf)):
        first, last = 0.0, 1.0
        for at, to, (lower, upper) in zip(state, new, ((wall.wall_x - half, wall.wall_x + half), (low, high))):
            if at == to:
                inside = lower <= at <= upper
                first, last = (first, last) if inside else (1.0, 0.0)
            else:
                ends = sorted(((lower - at) / (to - at), (upper - at) / (to - at)))
                first, last = max(first, ends[0]), min(last, ends[1])
        if first < last:
            return True
    return False


@pytest.mark.parametrize("name", ["default", "steps longer than the arena", "off centre"])
def test_a_step_that_changes_sides_does_not_pass_through_the_walls_corner(name):
    wall = WALLS[name]
    random = torch.Generator().manual_seed(0)
    states, actions = sample_states(wall, 4000, random), sample_actions(wall, (4000,), random)
    after = wall.step(states, actions)
    changed = (states[:, 0] - wall.wall_x) * (after[:, 0] - wall.wall_x) < 0
    # A step that the border or, on a long way, a jamb stopped is not one straight way.
    wanted = states + actions.clamp(-wall.action_max, wall.action_max)
    changed &= (after == wanted).all(-1) | (wall.action_max < 1)
    assert changed.sum() > 10
    cut = [s for s, new in zip(states[changed].tolist(), after[changed].tolist()) if enters(wall, s, new)]
    assert not cut


@given(walls, dtypes, seeds)
def test_no_state_leaves_the_arena_or_is_inside_the_wall(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    states = wall.rollout(sample_states(wall, 64, random, dtype), sample_actions(wall, (64, 20), random, dtype))
    assert states.dtype == dtype
    assert states.isfinite().all()
    assert (states.abs() <= torch.tensor(wall.arena, dtype=dtype)).all()
    x, y = states.flatten(0, 1).unbind(-1)
    outside_door = (y < wall.door[0]) | (y > wall.door[1])
    clearance = half_thickness(wall) - 4 * torch.finfo(dtype).eps * wall.arena
    assert ((x - wall.wall_x).abs()[outside_door] >= clearance).all()


@pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_state_that_the_simulator_reaches_is_one_that_it_accepts(wall, dtype):
    random = torch.Generator().manual_seed(0)
    states = wall.rollout(sample_states(wall, 256, random, dtype), sample_actions(wall, (256, 10), random, dtype))
    wall.validate_states(states.flatten(0, 1), "start")


@given(walls, dtypes, seeds)
def test_a_blocked_step_keeps_its_displacement_along_the_wall_and_its_side(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    states, actions = sample_states(wall, 64, random, dtype), sample_actions(wall, (64,), random, dtype)
    after = wall.step(states, actions)
    for state, action, new in zip(states, actions, after):
        height = entry_height(wall, state, action, dtype)
        if height is not None and not between(wall, height, 1e-4):
            dy = action[1].clamp(-wall.action_max, wall.action_max)
            assert new[1] == (state[1] + dy).clamp(-wall.arena, wall.arena)
            side = math.copysign(1, state[0] - wall.wall_x)
            assert side * (new[0].item() - wall.wall_x) == pytest.approx(half_thickness(wall), abs=1e-6)


@given(walls, seeds)
def test_a_step_away_from_wall_and_border_is_the_clipped_action(wall, seed):
    random = torch.Generator().manual_seed(seed)
    states, actions = sample_states(wall, 64, random), sample_actions(wall, (64,), random)
    clipped = actions.clamp(-wall.action_max, wall.action_max)
    target = states + clipped
    same_side = (states[:, 0] - wall.wall_x).sign() * (target[:, 0] - wall.wall_x).sign() > 0
    clear = (target[:, 0] - wall.wall_x).abs() > half_thickness(wall) + 1e-5
    # Who stands between the jambs may be stopped by them.
    outside = (states[:, 0] - wall.wall_x).abs() > half_thickness(wall) + 1e-5
    free = same_side & clear & outside & (target.abs() < wall.arena).all(-1)
    torch.testing.assert_close(wall.step(states, actions)[free], target[free], atol=1e-6, rtol=0)


@given(walls, dtypes, seeds)
def test_a_batch_moves_as_its_states_do_one_at_a_time(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    states, actions = sample_states(wall, 9, random, dtype), sample_actions(wall, (9, 5), random, dtype)
    together = wall.rollout(states, actions)
    assert together.shape == (9, 6, 2)
    alone = torch.cat([wall.rollout(states[i : i + 1], actions[i : i + 1]) for i in range(9)])
    assert torch.equal(together, alone)
    by_hand = states
    for t in range(5):
        by_hand = wall.step(by_hand, actions[:, t])
        assert torch.equal(by_hand, together[:, t + 1])


@given(walls, dtypes, seeds)
def test_a_step_changes_neither_its_arguments_nor_its_mind(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    states, actions = sample_states(wall, 16, random, dtype), sample_actions(wall, (16,), random, dtype)
    given_states, given_actions = states.clone(), actions.clone()
    first = wall.step(states, actions)
    wall.step(first, -actions)
    assert torch.equal(states, given_states)
    assert torch.equal(actions, given_actions)
    assert torch.equal(first, wall.step(states, actions))


@given(walls, seeds)
def test_an_action_beyond_the_bounds_does_what_the_action_on_them_does(wall, seed):
    random = torch.Generator().manual_seed(seed)
    states = sample_states(wall, 32, random)
    actions = 5 * wall.action_max * (2 * torch.rand(32, 2, generator=random) - 1)
    clipped = torch.maximum(torch.minimum(actions, wall.action_high), wall.action_low)
    assert torch.equal(wall.step(states, actions), wall.step(states, clipped))


def finite_differences(function, x, h=1e-6):
    columns = []
    for i in range(x.numel()):
        bump = torch.zeros_like(x).view(-1)
        bump[i] = h
        columns.append((function(x + bump.view_as(x)) - function(x - bump.view_as(x))) / (2 * h))
    return torch.stack([c.flatten() for c in columns], -1)


@given(seeds)
def test_gradients_are_finite_differences_away_from_wall_and_border(seed):
    wall = Wall(arena=10.0)
    random = torch.Generator().manual_seed(seed)
    side = 1 if seed % 2 else -1
    start = torch.tensor([[side * 3.0, 0.0]], dtype=torch.float64) + torch.rand(
        1, 2, generator=random, dtype=torch.float64
    )
    actions = 0.24 * (2 * torch.rand(1, 4, 2, generator=random, dtype=torch.float64) - 1)

    def end(actions):
        return wall.rollout(start, actions)[:, -1]

    exact = torch.autograd.functional.jacobian(end, actions).view(2, -1)
    torch.testing.assert_close(exact, finite_differences(end, actions), atol=1e-7, rtol=0)
    torch.testing.assert_close(exact, torch.eye(2, dtype=torch.float64).repeat(1, 4))


@pytest.mark.parametrize(
    ("state", "action", "jacobian"),
    [
        ((-0.1, 0.0), (0.2, 0.1), [[1, 0], [0, 1]]),  # through the door
        ((-0.02, 0.45), (0.01, 0.1), [[1, 0], [0, 0]]),  # against a jamb of the door
        ((-0.1, 1.0), (0.2, 0.1), [[0, 0], [0, 1]]),  # against the wall
        ((0.1, -1.0), (-0.2, 0.1), [[0, 0], [0, 1]]),  # from the other side
        ((1.9, 1.0), (0.2, 0.1), [[0, 0], [0, 1]]),  # against the border
        ((1.0, 1.0), (0.3, 0.1), [[0, 0], [0, 1]]),  # beyond the action bound
    ],
)
def test_gradients_are_finite_differences_where_something_is_in_the_way(state, action, jacobian):
    wall = Wall()
    start = torch.tensor([state], dtype=torch.float64)
    given_action = torch.tensor([action], dtype=torch.float64)

    def end(action):
        return wall.step(start, action)

    exact = torch.autograd.functional.jacobian(end, given_action).view(2, 2)
    torch.testing.assert_close(exact, torch.tensor(jacobian, dtype=torch.float64))
    torch.testing.assert_close(exact, finite_differences(end, given_action), atol=1e-7, rtol=0)


@given(walls, seeds)
def test_gradients_are_finite_everywhere(wall, seed):
    random = torch.Generator().manual_seed(seed)
    states = sample_states(wall, 64, random).requires_grad_()
    actions = sample_actions(wall, (64, 6), random).requires_grad_()
    wall.rollout(states, actions).square().sum().backward()
    assert states.grad.isfinite().all()
    assert actions.grad.isfinite().all()


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
def test_tasks_anywhere_are_spread_over_the_whole_arena(wall_x):
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
def test_the_generator_alone_decides_the_tasks(task):
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
    # No way is longer than two diagonals of the arena.
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
def test_nothing_stops_the_expert_on_its_way(wall):
    state, goal = wall.sample_tasks(100, torch.Generator().manual_seed(1))
    # No way is longer than twice across the arena and along its side.
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


def test_what_is_observed_is_the_state(wall):
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_stays_on_the_device_of_its_arguments():
    wall = Wall()
    random = torch.Generator().manual_seed(0)
    states, actions = sample_states(wall, 64, random), sample_actions(wall, (64, 5), random)
    there = wall.rollout(states.cuda(), actions.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), wall.rollout(states, actions))


def test_states_are_possible_in_the_arena_and_off_the_wall(wall):
    states = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.1, 1.0], [0.0, 2.1]], [[2.0, 2.0], [-2.1, 0.0]]])
    assert wall.possible(states).tolist() == [[True, False]] * 3
