import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.data.replay import ReplayBuffer

STEPS = 3


def batch(first, n, steps=STEPS):
    """Trajectories whose numbers identify them."""
    ids = torch.arange(first, first + n).float()
    return ids[:, None, None].expand(n, steps + 1, 2).clone(), -ids[:, None, None].expand(n, steps, 1).clone()


def held(buffer):
    """The numbers of the trajectories in the buffer; states and actions belong together."""
    if not len(buffer):
        return []
    states, actions = buffer.trajectories
    assert states.shape == (len(buffer), STEPS + 1, 2)
    assert actions.shape == (len(buffer), STEPS, 1)
    assert (states == states[:, :1, :1]).all()
    assert (actions == -states[:, :1, :1]).all()
    return states[:, 0, 0].int().tolist()


sizes = st.lists(st.integers(0, 12), max_size=8)


def fill(buffer, batches):
    for n in batches:
        buffer.add(*batch(buffer.added, n))


@given(st.integers(1, 8), st.integers(0, STEPS - 1), sizes)
def test_it_holds_the_newest_trajectories_that_its_capacity_allows(rows, spare, batches):
    buffer = ReplayBuffer(capacity=rows * STEPS + spare)
    fill(buffer, batches)
    total = sum(batches)
    assert buffer.added == total
    assert sorted(held(buffer)) == list(range(max(0, total - rows), total))
    assert len(buffer) * STEPS <= buffer.capacity


@given(sizes, sizes, st.booleans())
def test_a_restored_buffer_continues_like_the_original(tmp_path_factory, before, after, through_a_file):
    original, restored = ReplayBuffer(capacity=5 * STEPS), ReplayBuffer(capacity=5 * STEPS)
    fill(original, before)
    if through_a_file:
        path = tmp_path_factory.mktemp("replay") / "replay.pt"
        original.save(path)
        restored.load(path)
    else:
        restored.load_state_dict(original.state_dict())
    assert held(restored) == held(original)
    for buffer in (original, restored):
        fill(buffer, after)
    assert held(restored) == held(original)
    assert restored.added == original.added


@given(sizes, sizes)
def test_a_cleared_buffer_behaves_like_a_new_one(before, after):
    emptied, new = ReplayBuffer(capacity=5 * STEPS), ReplayBuffer(capacity=5 * STEPS)
    fill(emptied, before)
    emptied.clear()
    assert len(emptied) == 0
    for buffer in (emptied, new):
        fill(buffer, after)
    assert held(emptied) == held(new)


ERRORS = torch.tensor([[0.0, 1.0, 2.0], [3.0, 6.0, 0.0]])


def weights_of(exponent, k, errors=ERRORS):
    buffer = ReplayBuffer(capacity=5 * STEPS, priority_exponent=exponent)
    fill(buffer, [2])
    buffer.prioritise(errors)
    return buffer.window_weights(k)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("k", "expected"), [(1, [0, 1, 2, 3, 6, 0]), (2, [0.5, 1.5, 4.5, 3]), (3, [1, 3])])
def test_the_weight_of_a_window_is_a_power_of_its_mean_error_plus_a_constant(exponent, k, expected):
    errors = torch.tensor(expected).double()
    torch.testing.assert_close(weights_of(exponent, k), (errors / errors.mean() + 0.01) ** exponent)


@given(st.floats(0.0, 10.0), st.integers(1, STEPS), st.integers(-25, 25))
def test_weights_do_not_depend_on_the_unit_of_errors_and_are_all_positive(exponent, k, magnitude):
    weights = weights_of(exponent, k, ERRORS * 10.0**magnitude)
    torch.testing.assert_close(weights, weights_of(exponent, k), rtol=1e-4, atol=0)
    assert (weights > 0).all()


@pytest.mark.parametrize("error", [0.0, float("nan"), float("inf")])
def test_uninformative_errors_give_equal_weights(error):
    assert weights_of(1.0, 2, torch.full((2, STEPS), error)).unique().numel() == 1


def test_priorities_are_valid_until_the_contents_change():
    buffer = ReplayBuffer(capacity=5 * STEPS, priority_exponent=1.0)
    fill(buffer, [2])
    assert buffer.window_weights(1) is None
    for change in (lambda: fill(buffer, [1]), lambda: buffer.load_state_dict(buffer.state_dict()), buffer.clear):
        buffer.prioritise(torch.ones(len(buffer), STEPS))
        assert buffer.window_weights(1) is not None
        change()
        assert buffer.window_weights(1) is None


@pytest.mark.parametrize("exponent", [-1, 11, float("nan")])
def test_an_impossible_exponent_is_refused_by_name(exponent):
    with pytest.raises(ValidationError, match="priority_exponent"):
        ReplayBuffer(priority_exponent=exponent)


def test_restoring_replaces_what_a_buffer_held():
    original, other = ReplayBuffer(capacity=5 * STEPS), ReplayBuffer(capacity=5 * STEPS)
    fill(original, [2])
    fill(other, [4, 4])
    other.load_state_dict(original.state_dict())
    assert held(other) == [0, 1]
    other.load_state_dict(ReplayBuffer(capacity=5 * STEPS).state_dict())
    assert held(other) == []


@pytest.mark.parametrize("rows", [2, 5, 100])
def test_a_buffer_of_another_capacity_refuses_the_contents_or_continues_in_order(rows):
    original, other = ReplayBuffer(capacity=4 * STEPS), ReplayBuffer(capacity=rows * STEPS)
    fill(original, [7])
    try:
        other.load_state_dict(original.state_dict())
    except ValueError:
        return
    kept = min(4, rows)
    assert sorted(held(other)) == list(range(7 - kept, 7))
    other.add(*batch(7, 1))
    assert sorted(held(other)) == list(range(8 - min(kept + 1, rows), 8))


def test_a_state_dict_does_not_change_when_the_buffer_does():
    buffer = ReplayBuffer(capacity=4 * STEPS)
    fill(buffer, [4])
    state = buffer.state_dict()
    fill(buffer, [4])
    assert state["added"] == 4
    assert state["states"][:, 0, 0].tolist() == [0, 1, 2, 3]


def test_added_trajectories_do_not_change_when_the_callers_tensors_do():
    buffer = ReplayBuffer(capacity=4 * STEPS)
    states, actions = batch(0, 2)
    buffer.add(states, actions)
    states.fill_(9)
    actions.fill_(9)
    assert held(buffer) == [0, 1]


def test_trajectories_longer_than_the_capacity_are_refused():
    buffer = ReplayBuffer(capacity=STEPS - 1)
    with pytest.raises(ValueError, match=f"{STEPS - 1}.*{STEPS} steps"):
        buffer.add(*batch(0, 1))
    assert len(buffer) == 0


def test_trajectories_of_another_length_are_refused_and_leave_the_buffer_unchanged():
    buffer = ReplayBuffer(capacity=4 * STEPS)
    fill(buffer, [2])
    with pytest.raises(ValueError, match=f"{STEPS + 1} steps.*{STEPS}"):
        buffer.add(*batch(2, 1, steps=STEPS + 1))
    assert held(buffer) == [0, 1]
    assert buffer.added == 2


@pytest.mark.parametrize("capacity", [0, -1, 2.5])
def test_an_impossible_capacity_is_refused_by_name(capacity):
    with pytest.raises(ValidationError, match="capacity"):
        ReplayBuffer(capacity=capacity)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    buffer, path = ReplayBuffer(capacity=4 * STEPS), tmp_path / "replay.pt"
    fill(buffer, [2])
    buffer.save(path)
    fill(buffer, [2])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        buffer.save(path)
    restored = ReplayBuffer(capacity=4 * STEPS)
    restored.load(path)
    assert held(restored) == [0, 1]
