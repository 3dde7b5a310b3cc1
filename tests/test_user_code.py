"""A user's code belongs to the names of the files that it determines."""

import sys
from importlib import import_module, invalidate_caches

import pytest
from omegaconf import OmegaConf

from gapclose.data.behaviours import Expert, Mixture
from gapclose.data.collect import CollectedData
from gapclose.envs.wall import Wall
from gapclose.runs.storage.shared_models import shared_path
from gapclose.user_code import code_named_in, code_of

WORLD = """
from gapclose.envs.wall import Wall

class Windy(Wall):
    def step(self, state, action):
        return super().step(state, action + {wind})
"""
BEHAVIOUR = """
from gapclose.data.behaviours import Expert

class Hasty(Expert):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Imports a module with this source, anew in each call."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source, name="users_module"):
        (tmp_path / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
        invalidate_caches()
        return import_module(name)

    yield make
    sys.modules.pop("users_module", None)


def test_our_own_classes_add_nothing():
    assert code_of(Wall(), Expert(), Mixture({"a": Expert()}, {"a": 1})) == {}
    assert code_named_in({"a": [{"_target_": "torch.optim.Adam"}, {"_target_": "gapclose.envs.wall.Wall"}]}) == {}


def test_data_are_of_the_world_whose_code_made_them(module, tmp_path):
    data = CollectedData(tmp_path, Expert())
    paths = {data.path(Wall())}
    for wind in (0.1, 0.1, 0.2):
        world = module(WORLD.format(wind=wind)).Windy()
        assert world.settings == Wall().settings
        paths.add(data.path(world))
    assert len(paths) == 3


def test_data_are_of_the_behaviour_whose_code_made_them_also_within_a_mixture(module, tmp_path):
    hasty = module(BEHAVIOUR).Hasty()
    assert CollectedData(tmp_path, hasty).path(Wall()) != CollectedData(tmp_path, Expert()).path(Wall())
    paths = [CollectedData(tmp_path, Mixture({"a": part}, {"a": 1})).path(Wall()) for part in (hasty, Expert())]
    assert paths[0] != paths[1]


def test_a_shared_model_is_of_the_classes_that_its_configuration_names(module):
    module("from gapclose.models.dynamics.mlp import MLPDynamics\n\nclass Mine(MLPDynamics):\n    pass\n")
    target = "users_module.Mine"

    def path():
        config = {"data_dir": "data", "data": {"folder": "data"}, "model": {"_target_": target}}
        return shared_path("baselines", ("data", "model"), OmegaConf.create(config), Wall())

    before = path()
    assert path() == before
    module("from gapclose.models.dynamics.mlp import MLPDynamics\n\nclass Mine(MLPDynamics):\n    slow = True\n")
    assert path() != before


def test_a_class_without_source_is_known_by_its_name():
    made = type("Interactive", (Wall,), {"__module__": "__main__"})
    assert list(code_of(made())) == ["__main__.Interactive"]
