"""Fixtures for many tests: an environment, a few trajectories, an ensemble, a model whose optimum is known."""

import gc
import shutil
from contextlib import nullcontext

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from gapclose.data.behaviours import Expert
from gapclose.data.collect import collect
from gapclose.data.trajectories import Trajectories, Window
from gapclose.envs.wall import Wall
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel, WorldModel
from gapclose.runs.command_line import entry
from gapclose.runs.command_line.composition import composing_once
from tests.logging.recorded import recorded

__all__ = ["recorded"]

torch.set_num_threads(1)


def pytest_collection_finish():
    """Leaves imported modules out of garbage collection, and collects seldom: it was a tenth of the time."""
    gc.freeze()
    gc.set_threshold(300_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def shared_compositions():
    """All commands of the tests share what usually only the compositions of one command share."""
    with composing_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "composing_once", nullcontext)
        yield


@pytest.fixture(scope="session", autouse=True)
def wandb_away_from_home(tmp_path_factory):
    """Hides the user's key from W&B, and keeps W&B from writing into the home directory."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "NETRC"):
            patch.setenv(name, str(folder / name.lower()))
        for name in (
            "API_KEY",
            "MODE",
            "IDENTITY_TOKEN_FILE",
            "PROJECT",
            "NAME",
            "TAGS",
            "RUN_GROUP",
            "JOB_TYPE",
            "NOTES",
        ):
            patch.delenv(f"WANDB_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, request):
    """Makes a folder by a function, once for all processes that run tests. No test may change what is in it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if hasattr(request.config, "workerinput") else base

    def folder_of(name, make):
        folder, finished = base / name, base / f"{name}.finished"
        with FileLock(f"{folder}.lock"):
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return folder_of


class PointModel(WorldModel):
    """`z' = z + gain · a`, with one member, so that optima are known."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def encode(self, observation: Tensor) -> Tensor:
        return observation.unsqueeze(1)

    def decode(self, latent: Tensor) -> Tensor:
        return latent.squeeze(-2)

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        return latent + self.gain * action.unsqueeze(1)

    def loss(self, window: Window) -> Tensor:
        return self.one_step_error(window)


@pytest.fixture
def point_model() -> type[PointModel]:
    return PointModel


@pytest.fixture
def half_frozen(point_model):
    """A model in training mode, one parameter of which is not trained, and a part of which is in evaluation mode."""
    model = point_model()
    model.encoder = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model.encoder[0].bias.requires_grad_(False)
    return model.train()


@pytest.fixture(scope="session")
def wall() -> Wall:
    return Wall()


class Engine(Wall):
    """The wall without gradients, as if a physics engine simulated it."""

    differentiable = False

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        return super().step(state, action).detach()


@pytest.fixture
def engine() -> Wall:
    return Engine()


@pytest.fixture(scope="session")
def trajectories(wall) -> Trajectories:
    return collect(wall, Expert(0.1), num_trajectories=20, steps=15, seed=0)


def small_ensemble(trajectories: Trajectories) -> LearnedWorldModel:
    """An untrained ensemble with the normalization of these trajectories, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2, hidden_dim=16, num_layers=2, members=3))
    model.fit_normalization(trajectories)
    return model


@pytest.fixture
def ensemble(trajectories) -> LearnedWorldModel:
    return small_ensemble(trajectories)
