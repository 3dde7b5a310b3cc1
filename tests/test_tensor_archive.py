"""What torch.save writes is read as torch.load reads it; anything else is refused."""

import collections
import fractions

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gapclose.tensor_archive import read_archive

keys = st.text(max_size=5) | st.integers(-(2**70), 2**70)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
contents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict)
    ),
)


def saved(content, folder):
    torch.save(content, folder / "file")
    return folder / "file"


def with_dicts(content):
    """The content with plain dictionaries instead of ordered ones."""
    if isinstance(content, dict):
        return {key: with_dicts(value) for key, value in content.items()}
    return type(content)(map(with_dicts, content)) if isinstance(content, list | tuple) else content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


@settings(max_examples=100, deadline=None)
@given(content=contents)
def test_plain_data_are_read_as_they_were_saved(content, folder):
    assert repr(read_archive(saved(content, folder))) == repr(with_dicts(content))  # Also tells 1 from True and 1.0.


TENSORS = {
    "a scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 3),
    "empty integers": torch.zeros(0, dtype=torch.int64),
    "a transposed view": torch.arange(12.0).view(3, 4).mT,
    "a part of another": torch.arange(12)[3:9:2],
    "a parameter": torch.nn.Parameter(torch.ones(2, 2)),
    **{
        str(dtype): torch.tensor([0, 1, 2, 1]).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.uint8)
    },
    "booleans": torch.tensor([True, False]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_dense_tensors_are_read_as_they_were_saved(name, tmp_path):
    read = read_archive(saved({"weights": TENSORS[name]}, tmp_path))["weights"]
    assert read.dtype == TENSORS[name].dtype
    assert torch.equal(read, TENSORS[name])
    assert not read.requires_grad


def test_tensors_that_share_their_numbers_still_share_them(tmp_path):
    shared = torch.arange(4.0)
    first, second = read_archive(saved([shared, shared.view(2, 2)], tmp_path))
    first[0] = 7
    assert second[0, 0] == 7


def test_the_state_of_a_module_and_of_an_optimizer_is_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    path = saved({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path)
    read, loaded = read_archive(path), torch.load(path, weights_only=True)
    assert read["optimizer"]["param_groups"] == loaded["optimizer"]["param_groups"]
    torch.testing.assert_close(read["model"], dict(loaded["model"]))
    torch.testing.assert_close(read["optimizer"]["state"], loaded["optimizer"]["state"])


@pytest.mark.parametrize(
    "content",
    [
        {1, 2},
        fractions.Fraction(1, 2),
        {(1, 2): 3},
        {1.5: 2},
        b"bytes",
        torch.zeros(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
        torch.zeros(1).expand(10),
    ],
    ids=["a set", "an object", "a tuple as key", "a float as key", "bytes", "complex", "sparse", "expanded"],
)
def test_anything_else_is_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"^(it|a tensor) "):
        read_archive(saved({"content": content}, tmp_path))
