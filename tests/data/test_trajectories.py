import os
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError


def numbered(n, steps, state_dim=2, action_dim=1):
    """Trajectories in which every number occurs once."""
    states = torch.arange(n * (steps + 1) * state_dim).float().view(n, steps + 1, state_dim)
    return Trajectories(states, -1 - torch.arange(n * steps * action_dim).float().view(n, steps, action_dim))


@given(st.integers(1, 5), st.integers(1, 7), st.data())
def test_windows_equal_those_of_a_naive_loop(n, steps, data):
    k = data.draw(st.integers(1, steps))
    trajectories = numbered(n, steps)
    naive = [
        (trajectories.states[i, t : t + k + 1], trajectories.actions[i, t : t + k])
        for i in range(n)
        for t in range(steps - k + 1)
    ]
    assert trajectories.num_windows(k) == len(naive)
    index = data.draw(st.lists(st.integers(0, len(naive) - 1), min_size=1, max_size=10))
    window = trajectories.windows(torch.tensor(index), k)
    assert torch.equal(window.states, torch.stack([naive[i][0] for i in index]))
    assert torch.equal(window.actions, torch.stack([naive[i][1] for i in index]))


def test_windows_of_a_subset_are_those_of_its_trajectories():
    trajectories = numbered(5, 4)
    part = trajectories.subset(slice(2, 4))
    window = part.windows(torch.arange(part.num_windows(2)), 2)
    assert torch.equal(window.states[:3], trajectories.states[2].unfold(0, 3, 1).transpose(1, 2))
    assert part.states.data_ptr() == trajectories.states[2].data_ptr()


@pytest.mark.parametrize(("steps", "firsts"), [(2, [0, 2]), (3, [0]), (5, [0]), (9, [0]), (1, [0, 1, 2, 3, 4])])
def test_pieces_are_consecutive_and_each_starts_at_the_end_of_the_last(steps, firsts):
    trajectories = numbered(3, 5)
    pieces, length = trajectories.pieces(steps), min(steps, 5)
    cut = [(row, first) for row in range(3) for first in firsts]
    assert torch.equal(pieces.states, torch.stack([trajectories.states[r, f : f + length + 1] for r, f in cut]))
    assert torch.equal(pieces.actions, torch.stack([trajectories.actions[r, f : f + length] for r, f in cut]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_holds_exactly_what_was_saved(tmp_path, dtype):
    trajectories = Trajectories(torch.randn(3, 5, 2, dtype=dtype), torch.randn(3, 4, 1, dtype=dtype))
    path = tmp_path / "new folder" / "data.safetensors"
    trajectories.save(path)
    loaded = Trajectories.load(path)
    for name in ("states", "actions"):
        assert torch.equal(getattr(loaded, name), getattr(trajectories, name))
        assert getattr(loaded, name).dtype == dtype
    assert os.listdir(path.parent) == [path.name]


def test_views_are_saved_with_the_values_they_show(tmp_path):
    trajectories = Trajectories(torch.randn(2, 5, 6).transpose(1, 2), torch.randn(2, 1, 5).transpose(1, 2)).subset(
        slice(1, 2)
    )
    trajectories.save(tmp_path / "data")
    assert torch.equal(Trajectories.load(tmp_path / "data").states, trajectories.states)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small file, its bytes, and where its tensor data begin."""
    path = tmp_path_factory.mktemp("trajectories") / "data.safetensors"
    numbered(3, 4).save(path)
    content = path.read_bytes()
    return path, content, 8 + int.from_bytes(content[:8], "little")


def refused(path):
    with pytest.raises(UserError) as error:
        Trajectories.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@given(st.data())
def test_a_flipped_bit_in_the_tensor_data_is_refused_by_the_name_of_the_file(file, data):
    path, content, start = file
    position = data.draw(st.integers(start, len(content) - 1))
    damaged = path.with_name("flipped")
    altered = bytearray(content)
    altered[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged.write_bytes(altered)
    refused(damaged)


def test_any_byte_overwritten_is_refused_by_the_name_of_the_file(file):
    path, content, _ = file
    damaged = path.with_name("overwritten")
    for position in range(len(content)):
        altered = bytearray(content)
        altered[position] ^= 0x55
        damaged.write_bytes(altered)
        refused(damaged)


@given(st.data())
def test_a_truncated_file_is_refused_by_its_name(file, data):
    path, content, _ = file
    damaged = path.with_name("truncated")
    damaged.write_bytes(content[: data.draw(st.one_of(st.just(0), st.integers(0, len(content) - 1)))])
    assert "delete it" in refused(damaged)


def test_bytes_appended_to_a_file_are_refused(file):
    path, content, _ = file
    damaged = path.with_name("appended")
    damaged.write_bytes(content + b"\0" * 16)
    refused(damaged)


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    for path in (tmp_path / "missing.safetensors", tmp_path):
        assert "delete" not in refused(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["states", "actions"])
def test_a_file_with_a_value_that_is_not_finite_is_refused(tmp_path, name, value):
    trajectories = numbered(3, 4)
    getattr(trajectories, name)[1, 2, 0] = value
    trajectories.save(tmp_path / "data")
    assert "NaN or infinite" in refused(tmp_path / "data")


@pytest.mark.parametrize(
    ("states", "actions"),
    [
        ((3, 5, 2), (3, 5, 1)),
        ((3, 5, 2), (2, 4, 1)),
        ((3, 4, 2), (3, 4, 1)),
        ((15, 2), (12, 1)),
        ((3, 5), (3, 4, 1)),
        ((3, 5, 2, 1), (3, 4, 1)),
    ],
)
def test_the_error_for_wrong_shapes_names_the_shapes(tmp_path, states, actions):
    Trajectories(torch.zeros(states), torch.zeros(actions)).save(tmp_path / "data")
    message = refused(tmp_path / "data")
    assert str(list(states)) in message
    assert str(list(actions)) in message
    assert "[N, T+1, S]" in message


def test_a_file_without_trajectories_is_refused(tmp_path):
    save_file({"states": torch.zeros(0, 5, 2), "actions": torch.zeros(0, 4, 1)}, tmp_path / "data")
    refused(tmp_path / "data")


def test_a_file_that_lacks_a_tensor_or_the_checksum_is_refused(tmp_path):
    trajectories = numbered(3, 4)
    save_file({"states": trajectories.states}, tmp_path / "half", metadata={"digest": trajectories.digest()})
    refused(tmp_path / "half")
    save_file(trajectories._asdict(), tmp_path / "unsigned")
    refused(tmp_path / "unsigned")


def test_files_with_each_others_checksums_are_refused(tmp_path):
    one, other = numbered(3, 4), numbered(2, 4)
    save_file(one._asdict(), tmp_path / "data", metadata={"digest": other.digest()})
    assert "checksum" in refused(tmp_path / "data")


@given(st.data())
def test_the_checksum_depends_on_every_value_and_on_the_shape(data):
    trajectories = numbered(2, 3, action_dim=2)
    before = trajectories.digest()
    tensor = data.draw(st.sampled_from(trajectories))
    tensor.view(-1)[data.draw(st.integers(0, tensor.numel() - 1))] += 1
    assert trajectories.digest() != before
    assert Trajectories(trajectories.states, trajectories.actions.view(2, 6, 1)).digest() != trajectories.digest()


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "data"
    old, new = numbered(2, 3), numbered(4, 3)
    old.save(path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        new.save(path)
    assert torch.equal(Trajectories.load(path).states, old.states)
    monkeypatch.undo()
    new.save(path)
    assert torch.equal(Trajectories.load(path).states, new.states)
    assert os.listdir(tmp_path) == [path.name]


def test_loaded_trajectories_outlive_their_file(tmp_path):
    trajectories = numbered(3, 4)
    trajectories.save(tmp_path / "folder" / "data")
    loaded = Trajectories.load(tmp_path / "folder" / "data")
    shutil.rmtree(tmp_path / "folder")
    assert torch.equal(loaded.actions, trajectories.actions)
