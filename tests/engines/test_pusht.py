import sys
from math import atan2

import numpy as np
import pytest
import torch

from gapclose.engines.pool import Workers
from gapclose.engines.pusht import PushTEngine, environment, geometry
from gapclose.envs.pusht import PushT
from gapclose.errors import UserError

pytest.importorskip("gym_pusht")


@pytest.fixture(scope="module")
def visited():
    """States of noisy expert trajectories `[1000, 8]`, and their actions `[1000, 5, 2]`."""
    pusht, generator = PushT(), torch.Generator().manual_seed(0)
    states, goal = [pusht.sample_states(100, generator)], pusht.sample_states(100, generator)
    actions = []
    for _ in range(10):
        noise = 20 * torch.randn(100, 10, generator=generator)
        actions.append((pusht.expert_action(states[-1], goal) + noise).clamp(-100, 100))
        states.append(pusht.step(states[-1], actions[-1]))
    return torch.cat(states[:-1]).double().numpy(), torch.cat(actions).unflatten(1, (5, 2)).double().numpy()


def library(state):
    """The library's environment, set to a state."""
    world = environment()
    world.agent.position, world.agent.velocity = list(state[:2]), list(state[2:4])
    world.block.angle = atan2(state[6], state[7])
    world.block.position = list(state[4:6])
    return world


def observed(world):
    angle = world.block.angle
    return np.array([*world.agent.position, *world.agent.velocity, *world.block.position, np.sin(angle), np.cos(angle)])


def test_equal_states_and_actions_lead_to_equal_states(visited):
    """Bit by bit, regardless of what was simulated before."""
    states, actions = visited
    engine = PushTEngine()
    first = engine.advance(states, actions, 10)
    moved = np.abs(first - states)[:, 4:6].max(1) > 0.1
    assert len(states) == 1000
    assert moved.mean() > 0.5
    order = np.random.default_rng(0).permutation(1000)
    assert (engine.advance(states[order], actions[order], 10) == first[order]).all()
    alone = [engine.advance(states[[row]], actions[[row]], 10)[0] for row in order[:200]]
    assert (np.array(alone) == first[order[:200]]).all()


def test_a_state_is_restored_as_it_was(visited):
    states, actions = visited
    assert np.abs(PushTEngine().advance(states, actions[:, :0], 10) - states).max() < 1e-6


def test_a_step_equals_the_librarys_step(visited):
    """Except where the order matters in which the library solves contacts: it depends on earlier simulations."""
    states, actions = (x[::5] for x in visited)
    found = PushTEngine().advance(states, actions, 10)
    expected = []
    for state, block in zip(states, actions):
        world = library(state)
        for action in block:
            world.step(np.clip(np.array(world.agent.position) + action, 0, 512))
        expected.append(observed(world))
    apart = np.abs(found - np.array(expected))
    assert apart[:, :4].max() < 1e-9
    assert np.median(apart.max(1)) < 1e-9
    assert np.quantile(apart[:, 4:6].max(1), 0.95) < 1


@pytest.mark.parametrize(
    ("frameskip", "actions", "median", "most"), [(50, 5, (0.5, 0.3), (3, 2)), (10, 1, (3, 1.5), (8, 4))]
)
def test_interrupting_the_library_changes_little(frameskip, actions, median, most):
    """The bounds are those in the docstring of `PushT`, in px and degrees after 25 actions of the library."""
    pusht, generator = PushT(frameskip, actions), torch.Generator().manual_seed(0)
    start, goal = pusht.sample_tasks(50, generator)
    goal, states, blocks = goal.roll(1, 0), [start], []
    for _ in range(250 // frameskip):
        noise = 10 * torch.randn(50, pusht.action_dim, generator=generator)
        blocks.append((pusht.expert_action(states[-1], goal) + noise).clamp(-100, 100))
        states.append(pusht.step(states[-1], blocks[-1]))
    assert (pusht.position(states[-1]) - pusht.position(start)).norm(dim=1).median() > 30
    expected = []
    for state, sequence in zip(start.double().numpy(), torch.stack(blocks, 1).reshape(50, 25, 2).double().numpy()):
        world = library(state)
        for action in sequence:
            world.step(np.clip(np.array(world.agent.position) + action, 0, 512))
        expected.append(observed(world))
    expected = torch.tensor(np.array(expected), dtype=torch.float32)
    off = (expected - states[-1])[:, 4:6].norm(dim=1)
    degrees = (torch.atan2(*expected[:, 6:].T) - torch.atan2(*states[-1][:, 6:].T)).rad2deg()
    degrees = ((degrees + 180) % 360 - 180).abs()
    for apart, middle, far in zip((off, degrees), median, most):
        assert apart.median() < middle
        assert apart.quantile(0.95) < far


def test_workers_compute_exactly_the_same_as_this_process(visited):
    states, actions = (x[::10] for x in visited)
    pool = Workers()
    pool.resize(2)
    engine = PushTEngine()
    found = pool.rollout(engine, states, actions[:, None], 10)
    assert pool.executor is not None
    pool.stop()
    assert (found == engine.rollout(states, actions[:, None], 10)).all()


def test_the_target_of_an_action_is_fixed_and_inside_the_arena():
    state = np.array([[500.0, 250, 0, 0, 200, 200, 0, 1]])
    end = PushTEngine().advance(state, np.array([[[100.0, 0]]]), 200)
    assert end[0, :2] == pytest.approx([512, 250], abs=1e-3)
    end = PushTEngine().advance(state, np.array([[[-30.0, 40]]]), 200)
    assert end[0, :2] == pytest.approx([470, 290], abs=1e-3)


def test_a_block_stays_at_rest_if_nothing_pushes_it():
    state = np.array([[50.0, 50, 300, 0, 300, 300, 0.6, 0.8]])
    assert PushTEngine().advance(state, np.zeros((1, 1, 2)), 50)[0, 4:] == pytest.approx(state[0, 4:], abs=1e-9)


def test_the_geometry_is_that_of_a_letter_t():
    body = geometry()
    assert body.corners.shape == (8, 2)
    assert body.centre.tolist() == [0, 45]
    assert body.radius == 15
    edges = np.roll(body.corners, -1, 0) - body.corners
    assert sorted(np.abs(edges).sum(1)) == [30, 30, 30, 45, 45, 90, 90, 120]


def test_the_error_names_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(UserError, match=r"pip install 'gapclose\[pusht\]'"):
        environment()
