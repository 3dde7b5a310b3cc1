import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gapclose.data.behaviours import Expert, RandomWalk
from gapclose.data.collect import collect
from gapclose.engines import ant_maze as engine
from gapclose.envs.ant_maze import AntMaze, heading, rotate

pytest.importorskip("ogbench")


@pytest.fixture(scope="module")
def maze():
    return AntMaze()


@pytest.fixture(scope="module")
def visited(maze):
    """States visited under random torques and by the expert `[200, 29]`, and their actions `[200, 8]`."""
    parts = [collect(maze, behaviour, 5, 20, seed=0) for behaviour in (Expert(0.3), RandomWalk())]
    return [
        torch.cat([part.flatten(0, 1) for part in both])
        for both in zip(*((x.states[:, :-1], x.actions) for x in parts))
    ]


def upright(states):
    return 1 - 2 * states[..., 4:6].square().sum(-1)


def test_equal_states_and_actions_lead_to_equal_states(maze, visited):
    states, actions = visited
    first = maze.step(states, actions)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    assert torch.equal(maze.step(states[order], actions[order]), first[order])
    single = [maze.step(*row) for row in zip(states[:20].split(1), actions[:20].split(1))]
    assert torch.equal(torch.cat(single), first[:20])


def test_a_step_equals_the_librarys_step(maze, visited):
    library = engine.environment("medium")
    states, actions = (x[::10].double().numpy() for x in visited)
    following = maze.step(*(x[::10] for x in visited)).numpy()
    for state, action, found in zip(states, actions, following):
        library.set_state(state[:15], state[15:])
        library.data.qacc_warmstart[:] = 0
        expected = library.step(action)[0]
        # A foot that touches the ground a little earlier or later makes a difference that is not small.
        assert np.abs(found[:7] - expected[:7]).max() < 1e-3


def test_the_maze_has_the_same_position_as_in_the_library(maze):
    library = engine.environment("medium")
    free = {tuple(map(float, library.ij_to_xy(cell))) for cell in zip(*np.nonzero(library.maze_map == 0))}
    assert {tuple(centre) for centre in maze.maze.centres(torch.arange(len(maze.maze.cells))).tolist()} == free


def test_tasks_are_at_rest_in_free_cells(maze):
    start, goal = maze.sample_tasks(100, torch.Generator().manual_seed(0))
    maze.validate_states(start, "start")
    maze.validate_states(goal, "goal")
    assert not start[:, 15:].any()
    assert (upright(start) == 1).all()
    assert maze.success(goal, goal).all()


def test_the_expert_walks_to_the_next_cells():
    maze = AntMaze(min_distance=1, max_distance=2)
    generator = torch.Generator().manual_seed(0)
    tasks = maze.sample_tasks(12, generator)
    act, state = Expert(0.0).policy(maze, tasks.goal, generator), tasks.start
    arrived = torch.zeros(12, dtype=torch.bool)
    for _ in range(120):
        state = maze.step(state, act(state))
        arrived |= maze.success(state, tasks.goal)
        assert maze.possible(state).all()
    assert arrived.sum() >= 10


def test_the_expert_walks_along_any_axis_of_the_body(maze):
    """The body is symmetric under a quarter turn, and so are the expert's actions."""
    start, goal = (maze.at_rest(maze.maze.centres(torch.tensor([cell]))) for cell in (0, 1))
    quarter = torch.tensor([math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)])
    turned = start.clone()
    turned[:, 3:7] = quarter
    straight, sideways = (maze.expert_action(state, goal).view(4, 2) for state in (start, turned))
    assert torch.allclose(straight.abs().sort(0).values, sideways.abs().sort(0).values, atol=1e-5)


def test_quaternions_rotate_vectors():
    quarter = torch.tensor([math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)])
    assert heading(quarter).item() == pytest.approx(math.pi / 2)
    turned = rotate(quarter, torch.tensor([[[1.0, 2.0, 3.0]]]))
    assert torch.allclose(turned, torch.tensor([[[-2.0, 1.0, 3.0]]]), atol=1e-6)


def test_the_figure_shows_the_legs_where_the_library_has_them(maze, visited):
    """Feet are the ends of the last part of each leg."""
    import mujoco

    library = engine.environment("medium")
    states = visited[0][::40]
    feet = maze.figure(states).unflatten(1, (4, 3))[:, :, 2, 1]
    names = ("left_ankle_geom", "right_ankle_geom", "third_ankle_geom", "fourth_ankle_geom")
    for state, found in zip(states.double().numpy(), feet):
        library.set_state(state[:15], state[15:])
        mujoco.mj_kinematics(library.model, library.data)
        for name, foot in zip(names, found):
            geom, size = library.data.geom(name), library.model.geom(name).size
            ends = geom.xpos + np.outer([-1, 1], size[1] * geom.xmat.reshape(3, 3)[:, 2])
            assert np.abs(ends[:, :2] - foot.numpy()).max(1).min() < 0.05


def test_impossible_settings_are_refused():
    with pytest.raises(ValidationError, match="arena"):
        AntMaze(maze="umaze")
