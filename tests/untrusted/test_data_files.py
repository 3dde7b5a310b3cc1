"""Hostile and damaged data: collected trajectories, and replay buffers."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError, reporting_errors
from tests.untrusted.conftest import start
from tests.untrusted.damages import BINARY, DAMAGES, PICKLES, all_of, cases, content, pickled, resaved, some


def load_replay() -> None:
    with reporting_errors():
        ReplayBuffer(100).load(Path("replay.pt"))


ENTRIES = {"data": ("data/*.safetensors", partial(start, "data")), "replay": ("replay.pt", load_replay)}


def tensors(**given: Any):
    """Writes a data file with these tensors and a matching checksum."""

    def apply(path):
        held = Trajectories(**{"states": torch.zeros(20, 9, 2), "actions": torch.zeros(20, 8, 2), **given})
        save_file(held._asdict(), path, metadata={"digest": held.digest()})

    return apply


def header(text: bytes):
    return lambda path: path.write_bytes(len(text).to_bytes(8, "little") + text)


DATA = {
    "other shapes": tensors(states=torch.zeros(20, 9, 3)),
    "other actions": tensors(actions=torch.zeros(20, 8, 1)),
    "other length": tensors(states=torch.zeros(20, 5, 2), actions=torch.zeros(20, 4, 2)),
    "fewer": tensors(states=torch.zeros(2, 9, 2), actions=torch.zeros(2, 8, 2)),
    "double precision": tensors(states=torch.zeros(20, 9, 2).double()),
    "integers": tensors(states=torch.zeros(20, 9, 2).long()),
    "NaN": tensors(actions=torch.full((20, 8, 2), torch.nan)),
    "no checksum": lambda path: save_file({"states": torch.zeros(20, 9, 2), "actions": torch.zeros(20, 8, 2)}, path),
    "no actions": lambda path: save_file({"states": torch.zeros(20, 9, 2)}, path),
    "huge header": content((2**63 - 1).to_bytes(8, "little") + b"{}"),
    "header of text": header(b"hello"),
    "huge shape": header(b'{"states":{"dtype":"F32","shape":[9999999999,999999999],"data_offsets":[0,4]}}'),
    "unknown type": header(b'{"states":{"dtype":"F4711","shape":[0],"data_offsets":[0,0]}}'),
}
REPLAY = {
    "a list": lambda path: torch.save([1], path),
    "a tensor": lambda path: torch.save(torch.zeros(2), path),
    "more": resaved(lambda state: state.update(more=1)),
    "no capacity": resaved(lambda state: state.pop("capacity")),
    "another capacity": resaved(lambda state: state.update(capacity=7)),
    "sparse": resaved(lambda state: state.update(states=state["states"].to_sparse())),
    "meta": resaved(lambda state: state.update(states=state["states"].to("meta"))),
    "expanded": resaved(lambda state: state.update(states=torch.zeros(1).expand(10**9, 5, 2))),
    "flat": resaved(lambda state: state.update(states=state["states"].flatten())),
    "no steps": resaved(lambda state: state.update(actions=state["actions"][:, :0])),
    "integers": resaved(lambda state: state.update(actions=state["actions"].long())),
    "NaN": resaved(lambda state: state["actions"].fill_(torch.nan)),
    "negative": resaved(lambda state: state.update(added=-3)),
    "true": resaved(lambda state: state.update(added=True)),
    "without actions": resaved(lambda state: state.pop("actions")),
    "without trajectories": resaved(lambda state: (state.pop("actions"), state.pop("states"))),
}

CASES = {
    "data": [DAMAGES, some(BINARY, "flipped bit 1", "flipped bit 2"), DATA],  # It is no zip file.
    # Of so small a file, half is padding, as is the second bit.
    "replay": [
        DAMAGES,
        some(BINARY, "flipped bit 1", "compressed", "overlapping parts"),
        all_of(PICKLES, pickled),
        REPLAY,
    ],
}


@pytest.mark.parametrize(("entry", "change"), cases(CASES))
def test_one_sentence_names_the_file_and_nothing_else_happens(entry, change, refused):
    refused(*ENTRIES[entry], change)


def test_data_of_another_size_are_not_read(tmp_path):
    path, shapes = tmp_path / "data.safetensors", {"states": [10**7, 9, 2], "actions": [10**7, 8, 2]}
    ends = {"states": [0, 72 * 10**7], "actions": [72 * 10**7, 136 * 10**7]}
    parts = {name: {"dtype": "F32", "shape": shapes[name], "data_offsets": ends[name]} for name in shapes}
    header(json.dumps(parts).encode())(path)
    os.truncate(path, path.stat().st_size + 136 * 10**7)  # Takes no room on the disk.
    with pytest.raises(UserError, match="is of other data than its name says"):
        Trajectories.load(path, (20, 8, 2, 2))


def test_a_replay_buffer_that_asks_for_too_much_memory_is_refused(tmp_path):
    buffer = ReplayBuffer(100)
    buffer.add(torch.zeros(3, 5, 2), torch.zeros(3, 4, 2))
    torch.save(buffer.state_dict() | {"capacity": 10**15}, tmp_path / "replay.pt")
    with pytest.raises(UserError, match="cannot be loaded, as it does not fit into memory"):
        ReplayBuffer(10**15).load(tmp_path / "replay.pt")
