from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapclose.data.datamodule import OrderedWindows, WindowBatches, WindowDataModule, split
from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories


def numbered(n, steps, first=0):
    """Trajectories whose states and actions encode the trajectory and the step."""
    number = first + 100 * torch.arange(n)[:, None] + torch.arange(steps + 1)
    return Trajectories(number[..., None].float(), number[:, :-1, None].float())


def replay_of(n, steps):
    """A buffer of trajectories whose numbers are larger than those of the expert's."""
    replay = ReplayBuffer(capacity=1000)
    if n:
        replay.add(*numbered(n, steps, first=REPLAY))
    return replay


REPLAY = 10_000


def batches_of(expert, replay, ratio=0.0, window=1, batch_size=4, num_batches=5, key=(0, 0, 0)):
    return WindowBatches(expert, replay, ratio, window, batch_size, num_batches, lambda: key)


def numbers(batch):
    return batch.states[:, 0, 0].int().tolist()


@given(st.integers(1, 3), st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0]), st.integers(1, 9))
def test_sizes_and_the_share_of_replay_data_are_exactly_as_configured(window, held, ratio, batch_size):
    batches = batches_of(numbered(3, 5), replay_of(held, 4), ratio, window, batch_size, num_batches=6)
    from_replay = round(ratio * batch_size) if held else 0
    made = list(batches)
    assert len(made) == len(batches) == 6
    for states, actions in made:
        assert states.shape == (batch_size, window + 1, 1)
        assert actions.shape == (batch_size, window, 1)
        assert (states[:, 0] >= REPLAY).sum() == from_replay
        # A window is from a single trajectory, and in order.
        assert torch.equal(states[:, :-1], actions)
        assert (states.diff(dim=1) == 1).all()


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(1, 7), st.integers(0, 1000))
def test_every_window_is_visited_once_per_pass(n, steps, window, batch_size, seed):
    window = min(window, steps)
    expert = numbered(n, steps)
    num_windows = expert.num_windows(window)
    num_batches = 3 * num_windows // batch_size + 1
    made = batches_of(expert, replay_of(0, 1), 0.0, window, batch_size, num_batches, key=(seed,))
    visited = [number for batch in made for number in numbers(batch)]
    everything = {100 * i + t for i in range(n) for t in range(steps - window + 1)}
    for first in range(0, len(visited) - num_windows + 1, num_windows):
        assert Counter(visited[first : first + num_windows]) == Counter(everything)


def test_replay_windows_are_visited_once_per_pass_as_well():
    made = batches_of(numbered(2, 3), replay_of(2, 4), 0.5, batch_size=4, num_batches=4)
    visited = [number for batch in made for number in numbers(batch) if number >= REPLAY]
    assert Counter(visited) == Counter({REPLAY + 100 * i + t for i in range(2) for t in range(4)})


def orders(*args, **settings):
    return [numbers(batch) for batch in batches_of(*args, **settings)]


def test_the_order_depends_only_on_the_key():
    expert, replay = numbered(5, 6), replay_of(3, 4)
    order = orders(expert, replay, 0.5, key=(0, 1, 0))
    torch.rand(9)
    assert orders(expert, replay, 0.5, key=(0, 1, 0)) == order
    for other in ((1, 1, 0), (0, 2, 0), (0, 1, 1)):
        assert orders(expert, replay, 0.5, key=other) != order
    batches = batches_of(expert, replay, 0.5, key=(0, 1, 0))
    assert [numbers(batch) for batch in batches] == [numbers(batch) for batch in batches] == order


def test_the_order_of_the_expert_data_does_not_depend_on_the_replay_buffer():
    expert = numbered(5, 6)
    few, many = (orders(expert, replay_of(n, 4), 0.5) for n in (1, 7))
    assert [batch[:2] for batch in few] == [batch[:2] for batch in many]


def test_data_added_between_epochs_are_in_the_next_epoch():
    replay = replay_of(0, 4)
    batches = batches_of(numbered(5, 6), replay, ratio=1.0)
    assert all(number < REPLAY for batch in batches for number in numbers(batch))
    replay.add(*numbered(1, 4, first=REPLAY))
    assert all(number >= REPLAY for batch in batches for number in numbers(batch))


def prioritised(errors, exponent=1.0):
    replay = ReplayBuffer(capacity=1000, priority_exponent=exponent)
    replay.add(*numbered(*errors.shape, first=REPLAY))
    replay.prioritise(errors)
    return replay


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_replay_windows_are_drawn_in_proportion_to_their_weights(window, exponent):
    replay = prioritised(torch.tensor([[1.0, 0.0, 4.0], [2.0, 9.0, 0.0]]), exponent)
    batches = batches_of(numbered(5, 6), replay, 0.5, window, batch_size=100, num_batches=400)
    drawn = Counter(number for batch in batches for number in numbers(batch)[50:])
    weights = replay.window_weights(window)
    for (i, t), expected in zip(((i, t) for i in range(2) for t in range(4 - window)), weights / weights.sum()):
        assert drawn[REPLAY + 100 * i + t] / 20_000 == pytest.approx(expected.item(), abs=0.012)
    assert sum(drawn.values()) == 20_000


def test_the_order_of_prioritised_windows_depends_only_on_the_key_and_that_of_expert_data_is_unchanged():
    errors = torch.tensor([[1.0, 0.0, 4.0], [2.0, 9.0, 0.0]])
    expert = numbered(5, 6)
    order = orders(expert, prioritised(errors), 0.5, key=(0, 1, 0))
    torch.rand(9)
    assert orders(expert, prioritised(errors), 0.5, key=(0, 1, 0)) == order
    assert orders(expert, prioritised(errors), 0.5, key=(0, 2, 0)) != order
    assert orders(expert, prioritised(1 - errors / 9), 0.5, key=(0, 1, 0)) != order
    assert [batch[:2] for batch in order] == [
        batch[:2] for batch in orders(expert, replay_of(2, 3), 0.5, key=(0, 1, 0))
    ]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(1, 8))
def test_ordered_windows_visit_every_window_once_and_in_order(n, steps, window, transitions):
    window = min(window, steps)
    batches = OrderedWindows(numbered(n, steps), window, transitions)
    made = list(batches)
    assert len(made) == len(batches)
    assert all(len(batch.actions) <= max(1, transitions // window) for batch in made)
    assert [x for batch in made for x in numbers(batch)] == [
        100 * i + t for i in range(n) for t in range(steps - window + 1)
    ]


@given(st.integers(10, 57))
def test_the_split_is_by_trajectory_disjoint_and_complete(n):
    parts = split(numbered(n, 3))
    assert all(len(part.actions) for part in parts)
    assert [x for part in parts for x in part.states[:, 0, 0].int().tolist()] == [100 * i for i in range(n)]
    train, validation, test = (len(part.actions) / n for part in parts)
    assert abs(train - 0.8) <= 1 / n
    assert abs(validation - 0.1) <= 1 / n
    assert abs(test - 0.1) <= 1 / n


def datamodule(seed=0, rank=0, epoch=0, replay=None, **settings):
    settings = dict(replay_ratio=0.5, batch_size=4, steps_per_epoch=3) | settings
    data = WindowDataModule(numbered(20, 5), replay or replay_of(0, 1), seed=seed, **settings)
    data.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    return data


def test_training_and_validation_batches_come_from_their_own_split():
    data = datamodule(steps_per_epoch=200)
    trained = {number // 100 for batch in data.train_dataloader() for number in numbers(batch)}
    assert trained == set(range(16))
    assert [number for batch in data.val_dataloader() for number in numbers(batch)] == [1600, 1700]
    assert (data.test.states[:, 0, 0] // 100).tolist() == [18, 19]


@pytest.mark.parametrize("window", [1, 2, 5])
def test_every_transition_counts_once_in_validation_whatever_the_window(window):
    (batch,) = datamodule(window=window).val_dataloader()
    assert torch.equal(batch.states, numbered(20, 5).states[16:18])
    assert torch.equal(batch.actions, numbered(20, 5).actions[16:18])


def test_the_training_order_follows_seed_epoch_and_process():
    def order(**key):
        return [numbers(batch) for batch in datamodule(**key).train_dataloader()]

    assert order() == order()
    different = [order(), order(seed=1), order(epoch=1), order(rank=1)]
    assert all(a != b for i, a in enumerate(different) for b in different[:i])


def test_a_loader_draws_a_new_order_each_epoch():
    data = datamodule()
    loader = data.train_dataloader()
    first = [numbers(batch) for batch in loader]
    data.trainer.current_epoch = 1
    assert [numbers(batch) for batch in loader] != first


def test_the_state_of_the_datamodule_is_the_replay_buffer():
    original, restored = datamodule(replay=replay_of(3, 4)), datamodule()
    restored.load_state_dict(original.state_dict())
    assert torch.equal(restored.replay.trajectories.states, original.replay.trajectories.states)
    assert restored.replay.added == 3


@pytest.mark.parametrize("window", [6, 8])
def test_a_window_longer_than_the_trajectories_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        list(datamodule(window=window).train_dataloader())
