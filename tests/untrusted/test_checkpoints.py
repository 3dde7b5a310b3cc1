"""Hostile and damaged checkpoints: models, shared baselines, the state that training resumes from."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from gapclose.errors import UserError
from gapclose.runs.command_line.multirun import Sweep
from gapclose.training.checkpoint import read_checkpoint
from tests.runs.permissions import bound_by_permissions
from tests.untrusted.conftest import start
from tests.untrusted.damages import (
    BINARY,
    CONFIGS,
    DAMAGES,
    PICKLES,
    all_of,
    at,
    cases,
    configured,
    pickled,
    resaved,
    some,
)

ENTRIES = {
    **{name: ("model.ckpt", partial(start, name)) for name in ("plan", "settings", "diagnose", "base")},
    "baseline": ("data/baselines/*.ckpt", partial(start, "baseline")),
    "last": ("unfinished/checkpoints/last.ckpt", partial(start, "resume")),
}
"""The file that each entry reads, and how to start the entry."""
FIRST = "world_model.dynamics.weights.0"


def weight(make: Callable[[torch.Tensor], Any]):
    def change(checkpoint):
        checkpoint["state_dict"][FIRST] = make(checkpoint["state_dict"][FIRST])

    return change


def setting(**values: Any):
    return lambda checkpoint: checkpoint.update(values)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(times: int) -> list:
    value: list = [0]
    for _ in range(times):
        value = [value, value]
    return value


def with_attributes(w: torch.Tensor, **attributes: Any) -> torch.Tensor:
    for name, value in attributes.items():
        setattr(w, name, value)
    return w


def quantized(w: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)


CONTENTS = {
    "no weights": lambda checkpoint: checkpoint.pop("state_dict"),
    "weights null": setting(state_dict=None),
    "weights a list": setting(state_dict=[torch.zeros(2)]),
    "weights text": setting(state_dict="weights"),
    "weights empty": setting(state_dict={}),
    "a tensor null": weight(lambda w: None),
    "a tensor text": weight(lambda w: "weights"),
    "a tensor a list": weight(lambda w: w.tolist()),
    "a tensor sparse": weight(lambda w: w.to_sparse()),
    "a tensor meta": weight(lambda w: w.to("meta")),
    "a tensor expanded": weight(lambda w: torch.zeros(1).expand(10**15)),
    "a tensor quantized": weight(quantized),
    "a tensor complex": weight(lambda w: w.to(torch.complex64)),
    "a tensor of integers": weight(lambda w: w.to(torch.int64)),
    "a tensor in double precision": weight(lambda w: w.double()),
    "a tensor in half precision": weight(lambda w: w.half()),
    "a tensor of another shape": weight(lambda w: w[:, :1]),
    "a tensor without elements": weight(lambda w: w[:0]),
    "a tensor with NaN": weight(lambda w: w * torch.nan),
    "a tensor with infinity": weight(lambda w: w / 0),
    "a tensor of huge numbers": weight(lambda w: torch.full_like(w, 3e38)),
    "a tensor missing": lambda checkpoint: checkpoint["state_dict"].pop(FIRST),
    "a tensor with attributes": weight(lambda w: with_attributes(w * torch.nan, isfinite=torch.Tensor)),
    "a tensor nested": weight(lambda w: torch.nested.nested_tensor([w, w[:1]])),
    "a tensor too many": lambda checkpoint: checkpoint["state_dict"].update({"world_model.more": torch.zeros(2)}),
    "a name that is a number": lambda checkpoint: checkpoint["state_dict"].update({5: torch.zeros(2)}),
    "no configuration": lambda checkpoint: checkpoint.pop("config"),
    "configuration null": setting(config=None),
    "configuration a list": setting(config=[1]),
    "configuration with a tensor": lambda checkpoint: checkpoint["config"].update(env=torch.zeros(2)),
    "configuration with an interpolation": lambda checkpoint: checkpoint["config"].update(env="${oc.env:HOME}"),
    "configuration deeply nested": lambda checkpoint: checkpoint["config"].update(env=nested(300)),
    "configuration of shared lists": lambda checkpoint: checkpoint["config"].update(env=doubled(60)),
    "replay a list": setting(WindowDataModule=[1]),
    "replay of text": setting(WindowDataModule={"capacity": "a", "added": "b"}),
    "replay sparse": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(3, 4, 2).to_sparse()),
    "replay of other shapes": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(3)),
    "replay with NaN": lambda checkpoint: checkpoint["WindowDataModule"]["states"].fill_(torch.nan),
    "replay that is too long": lambda checkpoint: checkpoint["WindowDataModule"].update(added=10**30),
}


def states(*places: str):
    """Changes a place in the optimizer's state, or in another one."""

    def to(value):
        def change(checkpoint):
            part = checkpoint
            for name in places[:-1]:
                part = part[int(name) if isinstance(part, list) else name]
            part[places[-1]] = value

        return change

    return to


STATES = {
    "no loops": lambda checkpoint: checkpoint.pop("loops"),
    "no callbacks": states("callbacks")(None),
    "loops text": states("loops")("x"),
    "epoch huge": states("epoch")(10**300),
    "step negative": states("global_step")(-5),
    "progress text": states("loops", "fit_loop", "epoch_progress", "total", "completed")("x"),
    "no optimizer": states("optimizer_states")([]),
    "optimizer text": states("optimizer_states")("x"),
    "optimizer sparse": states("optimizer_states")([{"state": {0: {"exp_avg": torch.eye(3).to_sparse()}}}]),
    "learning rate text": lambda checkpoint: checkpoint["optimizer_states"][0]["param_groups"][0].update(lr="fast"),
    "moments of another shape": lambda checkpoint: checkpoint["optimizer_states"][0]["state"][0].update(
        exp_avg=torch.zeros(7)
    ),
    "schedule text": states("lr_schedulers")("x"),
    "schedule of text": lambda checkpoint: checkpoint["lr_schedulers"][0].update(T_i="x"),
    "schedule of zeros": lambda checkpoint: checkpoint["lr_schedulers"][0].update(T_i=0),
    "history text": lambda checkpoint: checkpoint["callbacks"]["PlannerRollouts"].update(history="x"),
    "history of text": lambda checkpoint: checkpoint["callbacks"]["PlannerRollouts"].update(history=[{"epoch": "x"}]),
    "replay of another world": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(12, 7, 5)),
    "replay of another capacity": lambda checkpoint: checkpoint["WindowDataModule"].update(capacity=100),
}

SIZES = {
    "a model that does not fit into memory": at("model.hidden_dim", 10**7),
    "a billion layers": at("model.num_layers", 10**9),
    "a billion members": at("model.members", 10**9),
    "a huge seed of the data": at("data.seed", 2**70),
    "a seed of text": at("data.seed", "x"),
    "a huge seed of the policy": at("policy.seed", 2**70),
}
ADOPTED = {
    "a billion trajectories": at("data.num_trajectories", 10**9),
    "a billion steps of data": at("data.steps", 10**9),
    "a policy that does not fit into memory": at("policy.network.hidden_dim", 10**6),
    "a billion layers of the policy": at("policy.network.num_layers", 10**9),
    "a billion epochs of the policy": at("policy.training.epochs", 10**9),
    "a billion steps of the policy": at("policy.training.steps_per_epoch", 10**9),
    "a billion trajectories in a batch": at("policy.training.batch_size", 10**9),
    "a billion windows per epoch": lambda config: config["policy"]["training"].update(
        steps_per_epoch=10**5, batch_size=10**4, epochs=1
    ),
}
WEIGHTS, CONFIGURATIONS = all_of(CONTENTS, resaved), all_of({**CONFIGS, **SIZES}, configured)
RESUMED, CRAFTED = all_of(STATES, resaved), all_of(PICKLES, pickled)
SOME_DAMAGES = some(DAMAGES, "empty", "pickle", "pipe", "folder")
CASES = {
    "plan": [DAMAGES, BINARY, CRAFTED, WEIGHTS, CONFIGURATIONS],
    "settings": [all_of(ADOPTED, configured)],
    "diagnose": [
        SOME_DAMAGES,
        some(WEIGHTS, "a tensor with NaN", "a tensor of huge numbers", "replay of other shapes"),
        some(RESUMED, "replay of another world"),
        some(CONFIGURATIONS, "env is touch", "env is null", "touch in policy.network", "a huge seed of the data"),
    ],
    "base": [
        SOME_DAMAGES,
        some(WEIGHTS, "weights null", "a tensor sparse", "a tensor missing", "a name that is a number"),
    ],
    "baseline": [
        DAMAGES,
        BINARY,
        some(WEIGHTS, "weights null", "a tensor with NaN", "a tensor of another shape", "a tensor expanded"),
    ],
    "last": [
        SOME_DAMAGES,
        BINARY,
        some(CRAFTED, "a key of tuples in tuples", "two billion bytes"),
        some(WEIGHTS, "weights null", "a tensor sparse", "a tensor of another shape", "configuration null"),
        RESUMED,
    ],
}


@pytest.mark.parametrize(("entry", "change"), cases(CASES))
def test_one_sentence_names_the_file_and_nothing_else_happens(entry, change, refused):
    refused(*ENTRIES[entry], change)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_file_without_permission_is_not_called_damaged(entry, refused):
    pattern, start = ENTRIES[entry]
    said = refused(pattern, bound_by_permissions()(start), lambda path: path.chmod(0))
    assert "Permission denied" in said
    assert "damaged" not in said
    assert "elete" not in said


@pytest.fixture
def deep(tmp_path):
    """A folder with more folders in folders than Python's functions can call themselves."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    deepest = f"{tmp_path}/run"
    for _ in range(1100):
        deepest += "/d"
        os.mkdir(deepest)
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    (tmp_path / "run/d/error.txt").touch()
    yield tmp_path / "run"
    (tmp_path / "run/d/error.txt").unlink()
    os.removedirs(deepest)


def test_a_deep_folder_is_called_a_folder_and_its_checkpoint_is_named(deep):
    with pytest.raises(UserError, match="is a folder; give the checkpoint file in it, such as "):
        read_checkpoint(deep)


def test_a_deep_folder_of_a_sweep_is_searched_where_jobs_may_be(deep):
    assert list(Sweep.error_files(deep)) == [deep / "d/error.txt"]
