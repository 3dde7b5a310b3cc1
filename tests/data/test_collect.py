import os
import threading
import time

import pytest
import torch
from pydantic import ValidationError

import gapclose.data.collect
from gapclose.data.collect import ExpertData, collect_expert, key_of
from gapclose.envs.wall import Wall
from gapclose.errors import UserError


def test_collected_states_are_what_the_simulator_makes_of_the_collected_actions(wall):
    data = collect_expert(wall, num_trajectories=30, steps=12, action_noise=0.3, seed=0)
    assert data.states.shape == (30, 13, 2)
    assert data.actions.shape == (30, 12, 2)
    assert torch.equal(wall.rollout(data.states[:, 0], data.actions), data.states)
    assert (data.actions >= wall.action_low).all()
    assert (data.actions <= wall.action_high).all()


def test_without_noise_the_actions_are_the_experts_on_tasks_of_the_simulator(wall):
    data = collect_expert(wall, num_trajectories=30, steps=40, action_noise=0.0, seed=5)
    tasks = wall.sample_tasks(30, torch.Generator().manual_seed(5))
    assert torch.equal(data.states[:, 0], tasks.start)
    assert wall.success(data.states[:, -1], tasks.goal).all()
    for t in (0, 7, 39):
        assert torch.equal(data.actions[:, t], wall.expert_action(data.states[:, t], tasks.goal))


def test_noise_is_a_fraction_of_the_action_bounds():
    wall = Wall(action_max=0.5)
    data = collect_expert(wall, num_trajectories=400, steps=40, action_noise=0.1, seed=0)
    goal = wall.sample_tasks(400, torch.Generator().manual_seed(0)).goal
    # At the goal the expert corrects the noise before, and that is all.
    noise = data.actions[:, -1] - wall.expert_action(data.states[:, -2], goal)
    assert noise.std().item() == pytest.approx(0.05, rel=0.1)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


def test_the_seed_alone_decides_the_data(wall):
    settings = dict(num_trajectories=10, steps=3, action_noise=0.1)
    one = collect_expert(wall, **settings, seed=1)
    torch.rand(5)
    assert torch.equal(one.actions, collect_expert(wall, **settings, seed=1).actions)
    other = collect_expert(wall, **settings, seed=2)
    assert not torch.equal(one.states[:, 0], other.states[:, 0])
    assert not torch.equal(one.actions, other.actions)


@pytest.fixture
def collections(monkeypatch):
    """The settings of every collection that is really made."""
    made = []

    def counted(simulator, **settings):
        made.append(settings)
        time.sleep(0.05)  # Whoever does not wait for the lock gets here, too.
        return collect_expert(simulator, **settings)

    monkeypatch.setattr(gapclose.data.collect, "collect_expert", counted)
    return made


SETTINGS = dict(num_trajectories=12, steps=4, action_noise=0.2, seed=3)


def test_expert_data_are_made_once_and_found_again(tmp_path, wall, collections):
    first = ExpertData(tmp_path / "data", **SETTINGS).load(wall)
    path = ExpertData(tmp_path / "data", **SETTINGS).path(wall)
    written = path.stat().st_mtime_ns
    again = ExpertData(tmp_path / "data", **SETTINGS).load(Wall())
    assert collections == [SETTINGS]
    assert path.stat().st_mtime_ns == written
    for loaded in (first, again):
        assert torch.equal(loaded.states, collect_expert(wall, **SETTINGS).states)


def test_threads_that_ask_at_once_get_data_that_are_made_once(tmp_path, wall, collections):
    barrier, loaded = threading.Barrier(4), []

    def ask():
        barrier.wait()
        loaded.append(ExpertData(tmp_path, **SETTINGS).load(wall))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collections) == 1
    assert len(loaded) == 4
    assert all(torch.equal(data.actions, loaded[0].actions) for data in loaded)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_ask_at_once_get_data_that_are_made_once(tmp_path, wall, monkeypatch):
    def marked(simulator, **settings):
        (tmp_path / f"made by {os.getpid()}").touch()
        time.sleep(0.2)
        return collect_expert(simulator, **settings)

    monkeypatch.setattr(gapclose.data.collect, "collect_expert", marked)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                ExpertData(tmp_path, **SETTINGS).load(wall)
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(list(tmp_path.glob("made by *"))) == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    "change",
    [dict(num_trajectories=13), dict(steps=5), dict(action_noise=0.21), dict(seed=4)],
    ids=lambda c: next(iter(c)),
)
def test_every_setting_of_the_data_changes_the_path(tmp_path, wall, change):
    assert ExpertData(tmp_path, **SETTINGS | change).path(wall) != ExpertData(tmp_path, **SETTINGS).path(wall)


CHANGES = dict(
    action_max=0.3, arena=3.0, wall_x=0.1, wall_thickness=0.3, door=(-0.5, 0.6), success_radius=0.3, task="any"
)


@pytest.mark.parametrize("name", Wall().settings)
def test_every_setting_of_the_simulator_changes_the_path(tmp_path, name):
    data = ExpertData(tmp_path, **SETTINGS)
    assert data.path(Wall(**{name: CHANGES[name]})) != data.path(Wall())


def test_equal_settings_have_one_path_however_they_are_written(tmp_path):
    data = ExpertData(tmp_path, **SETTINGS)
    assert data.path(Wall(arena=2, door=[-0.5, 0.5])) == data.path(Wall(arena=2.0, door=(-0.5, 0.5)))
    assert data.path(Wall()).parent == tmp_path
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 2, "b": 1})


def test_damaged_expert_data_are_refused_and_made_anew_once_they_are_deleted(tmp_path, wall, collections):
    data = ExpertData(tmp_path, **SETTINGS)
    whole = data.load(wall).actions.clone()
    path = data.path(wall)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="delete it") as error:
        data.load(wall)
    assert str(path) in str(error.value)
    path.unlink()
    assert torch.equal(data.load(wall).actions, whole)
    assert len(collections) == 2


def test_a_collection_that_was_interrupted_leaves_no_file_and_no_lock(tmp_path, wall, monkeypatch):
    data = ExpertData(tmp_path, **SETTINGS)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.load(wall)
    assert not data.path(wall).exists()
    monkeypatch.undo()
    assert len(data.load(wall).actions) == SETTINGS["num_trajectories"]


@pytest.mark.parametrize(
    "wrong",
    [dict(num_trajectories=9), dict(steps=0), dict(action_noise=-0.1), dict(seed="one")],
    ids=lambda c: next(iter(c)),
)
def test_impossible_settings_are_refused_by_name(tmp_path, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ExpertData(tmp_path, **SETTINGS | wrong)
