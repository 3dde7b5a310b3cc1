import os
import threading
import time

import pytest
import torch
from pydantic import ValidationError

import gapclose.data.collect
from gapclose.data.behaviours import Expert, Mixture, RandomWalk
from gapclose.data.collect import CollectedData, collect, hash_of
from gapclose.envs.wall import Wall
from gapclose.errors import UserError


@pytest.fixture
def collections(monkeypatch):
    """Records the settings of every collection that actually runs."""
    made = []

    def counted(simulator, behaviour, **settings):
        made.append(behaviour.settings | settings)
        time.sleep(0.05)  # Without the lock, others would get here as well.
        return collect(simulator, behaviour, **settings)

    monkeypatch.setattr(gapclose.data.collect, "collect", counted)
    return made


SETTINGS = dict(behaviour=Expert(0.2), num_trajectories=12, steps=4, seed=3)


def test_data_are_collected_once_and_then_loaded(tmp_path, wall, collections):
    first = CollectedData(tmp_path / "data", **SETTINGS).load(wall)
    path = CollectedData(tmp_path / "data", **SETTINGS).path(wall)
    written = path.stat().st_mtime_ns
    again = CollectedData(tmp_path / "data", **SETTINGS).load(Wall())
    assert collections == [dict(action_noise=0.2, num_trajectories=12, steps=4, seed=3)]
    assert path.stat().st_mtime_ns == written
    for loaded in (first, again):
        assert torch.equal(loaded.states, collect(wall, **SETTINGS).states)


def test_concurrent_threads_collect_the_data_once(tmp_path, wall, collections):
    barrier, loaded = threading.Barrier(4), []

    def ask():
        barrier.wait()
        loaded.append(CollectedData(tmp_path, **SETTINGS).load(wall))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collections) == 1
    assert len(loaded) == 4
    assert all(torch.equal(data.actions, loaded[0].actions) for data in loaded)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_concurrent_processes_collect_the_data_once(tmp_path, wall, monkeypatch):
    def marked(simulator, behaviour, **settings):
        (tmp_path / f"made by {os.getpid()}").touch()
        time.sleep(0.2)
        return collect(simulator, behaviour, **settings)

    monkeypatch.setattr(gapclose.data.collect, "collect", marked)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                CollectedData(tmp_path, **SETTINGS).load(wall)
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(list(tmp_path.glob("made by *"))) == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    "change",
    [dict(num_trajectories=13), dict(steps=5), dict(behaviour=Expert(0.21)), dict(seed=4)],
    ids=lambda c: next(iter(c)),
)
def test_every_setting_of_the_data_changes_the_path(tmp_path, wall, change):
    assert CollectedData(tmp_path, **SETTINGS | change).path(wall) != CollectedData(tmp_path, **SETTINGS).path(wall)


WALK, EXPERT = RandomWalk(0.5, 0.5), Expert(0.2)
OTHERS = [
    RandomWalk(0.4, 0.5),
    RandomWalk(0.5, 0.4),
    Mixture(dict(a=EXPERT, b=WALK), dict(a=1, b=1)),
    Mixture(dict(a=EXPERT, b=WALK), dict(a=1, b=2)),
    Mixture(dict(a=WALK, b=EXPERT), dict(a=1, b=1)),
    Mixture(dict(a=EXPERT, b=RandomWalk(0.4, 0.5)), dict(a=1, b=1)),
]


def test_every_setting_of_a_behaviour_changes_the_path(tmp_path, wall):
    paths = {CollectedData(tmp_path, **SETTINGS | dict(behaviour=of)).path(wall) for of in (EXPERT, WALK, *OTHERS)}
    assert len(paths) == 2 + len(OTHERS)
    assert {path.name.split("-")[1] for path in paths} == {"expert", "random_walk", "mixture"}


CHANGES = dict(
    action_max=0.3, arena=3.0, wall_x=0.1, wall_thickness=0.3, door=(-0.5, 0.6), success_radius=0.3, task="any"
)


@pytest.mark.parametrize("name", Wall().settings)
def test_every_setting_of_the_simulator_changes_the_path(tmp_path, name):
    data = CollectedData(tmp_path, **SETTINGS)
    assert data.path(Wall(**{name: CHANGES[name]})) != data.path(Wall())


def test_equal_settings_have_the_same_path(tmp_path):
    data = CollectedData(tmp_path, **SETTINGS)
    assert data.path(Wall(arena=2, door=[-0.5, 0.5])) == data.path(Wall(arena=2.0, door=(-0.5, 0.5)))
    assert data.path(Wall()).parent == tmp_path
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1}) != hash_of({"a": 2, "b": 1})


def test_damaged_data_are_refused_and_collected_again_after_deletion(tmp_path, wall, collections):
    data = CollectedData(tmp_path, **SETTINGS)
    whole = data.load(wall).actions.clone()
    path = data.path(wall)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="delete it") as error:
        data.load(wall)
    assert str(path) in str(error.value)
    path.unlink()
    assert torch.equal(data.load(wall).actions, whole)
    assert len(collections) == 2


def test_an_interrupted_collection_leaves_no_file_and_no_lock(tmp_path, wall, monkeypatch):
    data = CollectedData(tmp_path, **SETTINGS)

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
    [dict(num_trajectories=9), dict(steps=0), dict(behaviour="expert"), dict(seed="one")],
    ids=lambda c: next(iter(c)),
)
def test_impossible_settings_are_refused_by_name(tmp_path, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CollectedData(tmp_path, **SETTINGS | wrong)
