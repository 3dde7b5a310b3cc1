import pytest
import torch
from pydantic import ValidationError

from gapclose.data.behaviours import Expert, RandomWalk
from gapclose.data.collect import collect
from gapclose.engines import point_maze as engine
from gapclose.envs.point_maze import PointMaze
from gapclose.errors import UserError

pytest.importorskip("gymnasium_robotics")


@pytest.fixture(scope="module")
def maze():
    return PointMaze()


@pytest.fixture(scope="module")
def visited(maze):
    """States visited under random forces and by the expert `[1000, 4]`, and their actions `[1000, 2]`."""
    parts = [collect(maze, behaviour, 25, 20, seed=0) for behaviour in (Expert(0.5), RandomWalk())]
    return [
        torch.cat([part.flatten(0, 1) for part in both])
        for both in zip(*((x.states[:, :-1], x.actions) for x in parts))
    ]


def test_equal_states_and_actions_lead_to_equal_states(maze, visited):
    states, actions = visited
    assert len(states) == 1000
    first = maze.step(states, actions)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    assert torch.equal(maze.step(states[order], actions[order]), first[order])
    assert torch.equal(
        torch.cat([maze.step(*row) for row in zip(states.split(1), actions.split(1))][:100]), first[:100]
    )


def test_a_step_equals_the_librarys_step(maze, visited):
    """Up to the tolerance of MuJoCo's solver: the library starts the solver from its last solution."""
    ball = engine.environment("medium").point_env
    states, actions = (x[::5] for x in visited)
    following = maze.step(states, actions)
    for state, action, found in zip(states.double().numpy(), actions.double().numpy(), following.double()):
        ball.set_state(state[:2], state[2:])
        for _ in range(10):
            ball.step(action)
        expected = torch.cat([torch.from_numpy(x.copy()) for x in (ball.data.qpos, ball.data.qvel)])
        assert (found - expected).abs().max() < 1e-4


def test_a_rollout_equals_repeated_steps(maze):
    tasks = maze.sample_tasks(5, torch.Generator().manual_seed(0))
    actions = 2 * torch.rand(5, 12, 2, generator=torch.Generator().manual_seed(1)) - 1
    states = maze.rollout(tasks.start, actions)
    state = tasks.start
    for step, action in enumerate(actions.unbind(1)):
        state = maze.step(state, action)
        assert torch.equal(states[:, step + 1], state)
    assert torch.equal(states[:, 0], tasks.start)


def test_a_block_of_actions_equals_several_shorter_steps():
    blocks, single = PointMaze(frameskip=10, action_block=2), PointMaze(frameskip=5)
    start = single.sample_tasks(5, torch.Generator().manual_seed(0)).start
    actions = 2 * torch.rand(5, 6, 2, generator=torch.Generator().manual_seed(1)) - 1
    assert blocks.action_dim == 4
    found = blocks.rollout(start, actions.unflatten(1, (3, 2)).flatten(2))
    assert torch.allclose(found, single.rollout(start, actions)[:, ::2], atol=1e-4)


def test_actions_beyond_the_bounds_are_clipped(maze):
    start = maze.sample_tasks(3, torch.Generator().manual_seed(0)).start
    assert torch.equal(maze.step(start, torch.full((3, 2), 9.0)), maze.step(start, torch.ones(3, 2)))


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_tasks_are_at_rest_in_free_cells_that_are_far_enough_apart(name):
    maze = PointMaze(name, min_distance=2, max_distance=5)
    start, goal = maze.sample_tasks(200, torch.Generator().manual_seed(0))
    maze.validate_states(start, "start")
    maze.validate_states(goal, "goal")
    assert not start[:, 2:].any()
    assert not goal[:, 2:].any()
    steps = maze.maze.steps[maze.maze.cell(start[:, :2]), maze.maze.cell(goal[:, :2])]
    assert steps.min() == 2
    assert steps.max() == 5


def test_the_maze_has_the_same_position_as_in_the_library(maze):
    """A ball that is put into any free cell stays where it is."""
    centres = maze.maze.centres(torch.arange(len(maze.maze.cells)))
    states = torch.cat((centres, torch.zeros_like(centres)), 1)
    assert torch.allclose(maze.step(states, torch.zeros(len(states), 2)), states, atol=1e-6)
    library = engine.environment("medium").maze
    assert {tuple(centre) for centre in centres.tolist()} == {tuple(x) for x in library.unique_goal_locations}


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_the_expert_reaches_goals_with_and_without_noise(name):
    maze = PointMaze(name)
    for noise in (0.0, 0.3):
        generator = torch.Generator().manual_seed(0)
        tasks = maze.sample_tasks(50, generator)
        act, state = Expert(noise).policy(maze, tasks.goal, generator), tasks.start
        arrived = torch.zeros(50, dtype=torch.bool)
        for _ in range(80):
            state = maze.step(state, act(state))
            arrived |= maze.success(state, tasks.goal)
        assert arrived.all()
        assert maze.possible(state).all()


def test_walls_block_the_way(maze):
    """Under any forces, the ball stays in free cells."""
    states = collect(maze, RandomWalk(0.9, 2.0), 50, 40, seed=0).states
    assert maze.possible(states).all()
    assert states[..., 2:].abs().max() > 4


def test_impossible_states_are_refused(maze):
    with pytest.raises(UserError, match=r"start has shape \[1, 2\]; expected \[N, 4\], position first"):
        maze.validate_states(torch.zeros(1, 2), "start")
    with pytest.raises(
        UserError, match=r"start \(99, 0\) is not in a free cell of the maze; the free cells have their centres at"
    ):
        maze.validate_states(torch.tensor([[99.0, 0.0, 0.0, 0.0]]), "start")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (dict(maze="huge"), ValidationError, "umaze"),
        (dict(frameskip=10, action_block=3), UserError, "choose a multiple of 3"),
        (dict(min_distance=50), UserError, "50 to any number of steps apart, and the largest distance is 11"),
        (dict(min_distance=4, max_distance=2), UserError, "min_distance or max_distance"),
    ],
)
def test_impossible_settings_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        PointMaze(**settings)


def test_pictures_show_ball_goal_and_walls(maze):
    start, goal = maze.sample_tasks(2, torch.Generator().manual_seed(0))
    frames = maze.render(start, goal)
    assert frames.shape == (2, 192, 192, 3)
    assert frames.dtype == torch.uint8
    colors = frames.flatten(1, 2)
    for color in ((0, 0, 0), (31, 119, 180), (144, 200, 144), (255, 255, 255)):
        assert (colors == torch.tensor(color, dtype=torch.uint8)).all(-1).any(1).all(), color
    assert not (maze.render(start).flatten(1, 2) == torch.tensor([144, 200, 144], dtype=torch.uint8)).all(-1).any()


def test_the_library_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine.environment("umaze")
    assert not list(tmp_path.iterdir())
