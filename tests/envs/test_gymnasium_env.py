import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import gapclose.envs  # noqa: F401  registers the environments
from gapclose.envs.wall import Wall
from gapclose.errors import UserError


@pytest.fixture
def env():
    return gymnasium.make("gapclose/Wall-v0", render_mode="rgb_array")


@pytest.mark.filterwarnings("error")
def test_the_wall_passes_the_checker_of_gymnasium(env):
    check_env(env.unwrapped)


def test_equal_seeds_give_equal_tasks_and_the_next_reset_another(env):
    first, again, other = env.reset(seed=3)[0], env.reset(seed=3)[0], env.reset()[0]
    np.testing.assert_equal(first, again)
    assert (first["observation"] != other["observation"]).any()


def test_steps_equal_those_of_the_simulator(env):
    observation, _ = env.reset(seed=0)
    wall = Wall()
    for action in env.np_random.uniform(-0.3, 0.3, (20, 2)).astype(np.float32):
        expected = wall.step(torch.from_numpy(observation["observation"])[None], torch.from_numpy(action)[None])
        observation, reward, _, _, _ = env.step(action)
        np.testing.assert_allclose(observation["observation"], expected[0], rtol=0, atol=1e-7)
        distance = np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"])
        assert reward == pytest.approx(-distance, abs=1e-6)


def test_a_given_task_ends_at_its_goal(env):
    env.reset(options={"start": [-1, 0], "goal": [1, 0]})
    results = [env.step(np.array([0.25, 0.0], np.float32)) for _ in range(7)]
    assert [terminated for _, _, terminated, _, _ in results] == [False] * 6 + [True]
    assert results[-1][4]["is_success"]


@pytest.mark.parametrize(
    ("options", "named"), [({"start": [0, 1.5]}, "inside the wall"), ({"begin": [0, 0]}, r"\['begin'\]")]
)
def test_impossible_options_are_refused(env, options, named):
    with pytest.raises(UserError, match=named):
        env.reset(options=options)


@pytest.mark.parametrize("action", [[np.nan, 0.1], [0.1, np.inf], [0.1], [0.1, 0.1, 0.1], 0.1])
def test_impossible_actions_are_refused_and_change_nothing(env, action):
    before = env.reset(seed=0)[0]["observation"]
    with pytest.raises(UserError, match="give 2 finite numbers"):
        env.unwrapped.step(np.array(action))
    after = env.unwrapped.step(np.zeros(2))[0]["observation"]
    np.testing.assert_array_equal(after, before)


def test_a_stored_specification_makes_the_same_environment():
    env = gymnasium.make("gapclose/Wall-v0", action_max=0.1)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.simulator.settings == env.unwrapped.simulator.settings != Wall().settings


def test_rewards_computed_for_many_goals_are_those_of_steps(env):
    env.reset(seed=1)
    steps = [env.step(np.array([0.1, 0.1], np.float32)) for _ in range(5)]
    achieved, desired = (np.stack([step[0][name] for step in steps]) for name in ("achieved_goal", "desired_goal"))
    env = env.unwrapped
    np.testing.assert_allclose(env.compute_reward(achieved, desired, {}), [step[1] for step in steps], rtol=1e-6)
    assert env.compute_terminated(achieved, achieved, {}).all()
    assert not env.compute_terminated(achieved, achieved + 1, {}).any()
    assert not env.compute_truncated(achieved, desired, {}).any()


def test_the_settings_of_the_wall_can_be_chosen():
    env = gymnasium.make("gapclose/Wall-v0", action_max=0.1)
    assert env.action_space.high.tolist() == pytest.approx([0.1, 0.1])
    assert env.render_mode is None


def test_steps_of_an_engine_equal_those_of_its_simulator():
    pytest.importorskip("gymnasium_robotics")
    env = gymnasium.make("gapclose/PointMaze-v0", render_mode="rgb_array", maze="umaze", min_distance=1)
    observation, _ = env.reset(seed=0)
    maze = env.unwrapped.simulator
    for action in env.np_random.uniform(-1, 1, (5, 2)).astype(np.float32):
        expected = maze.step(torch.from_numpy(observation["observation"])[None], torch.from_numpy(action)[None])
        observation = env.step(action)[0]
        np.testing.assert_array_equal(observation["observation"], expected[0])
    assert env.render().shape == (192, 192, 3)


@pytest.mark.filterwarnings("ignore:.*(symmetric and normalized space|infinity)")  # Of actions and of velocities.
def test_pusht_passes_the_checker_of_gymnasium():
    pytest.importorskip("gym_pusht")
    env = gymnasium.make("gapclose/PushT-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.action_space.shape == (10,)
