"""Steps of the wall environment: their results, obstacles and gradients."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapclose.envs.wall import TOUCH, Wall
from tests.envs.conftest import WALLS, half_thickness, sample_actions, sample_states

walls = st.sampled_from(list(WALLS)).map(WALLS.get)
dtypes = st.sampled_from([torch.float32, torch.float64])
seeds = st.integers(0, 2**32)


def meeting_height(wall, state, action, dtype):
    """The y at which the straight path of a step crosses the wall's centre line, exactly; None if it does not."""
    line = Fraction(torch.tensor(wall.wall_x, dtype=dtype).item())
    bound = Fraction(torch.tensor(wall.action_max, dtype=dtype).item())
    x, y = (Fraction(v) for v in state.tolist())
    dx, dy = (min(max(Fraction(v), -bound), bound) for v in action.tolist())
    depth = x - line
    if depth == 0 or depth * (depth + dx) >= 0:
        return None
    return y + dy * (-depth / dx)


def entry_height(wall, state, action, dtype):
    """The y at which the straight path of a step first is between the wall's faces, exactly; None if it never is."""
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
    """Whether the straight path between two states enters the wall by more than the margin (clips it to boxes)."""
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
    # The path of a step that the border or (for long steps) a jamb stops is not straight.
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
def test_every_reached_state_is_accepted_as_possible(wall, dtype):
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
    # A point in the door may be stopped by the jambs.
    outside = (states[:, 0] - wall.wall_x).abs() > half_thickness(wall) + 1e-5
    free = same_side & clear & outside & (target.abs() < wall.arena).all(-1)
    torch.testing.assert_close(wall.step(states, actions)[free], target[free], atol=1e-6, rtol=0)


@given(walls, dtypes, seeds)
def test_a_batch_moves_as_its_states_do_individually(wall, dtype, seed):
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
def test_a_step_does_not_change_its_arguments_and_is_repeatable(wall, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    states, actions = sample_states(wall, 16, random, dtype), sample_actions(wall, (16,), random, dtype)
    given_states, given_actions = states.clone(), actions.clone()
    first = wall.step(states, actions)
    wall.step(first, -actions)
    assert torch.equal(states, given_states)
    assert torch.equal(actions, given_actions)
    assert torch.equal(first, wall.step(states, actions))


@given(walls, seeds)
def test_an_action_outside_the_bounds_equals_the_clipped_action(wall, seed):
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
def test_gradients_equal_finite_differences_away_from_wall_and_border(seed):
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
def test_gradients_equal_finite_differences_at_obstacles(state, action, jacobian):
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_stays_on_the_device_of_its_arguments():
    wall = Wall()
    random = torch.Generator().manual_seed(0)
    states, actions = sample_states(wall, 64, random), sample_actions(wall, (64, 5), random)
    there = wall.rollout(states.cuda(), actions.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), wall.rollout(states, actions))
