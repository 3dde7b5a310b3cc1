"""Batches of windows for training and validation."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor

from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories, Window
from gapclose.errors import UserError
from gapclose.seeds import generator


class WindowBatches:
    """Random batches of windows, a fixed share of each from the replay buffer once that holds anything.

    Sized and iterable, which is all that Lightning asks of a data loader: batches are cut from the tensors with one
    gather, without workers or collation.

    Args:
        trajectories: the training split.
        replay: the replay buffer; it may grow between epochs.
        replay_ratio: share of replay data in a batch.
        window: steps per window.
        batch_size: windows per batch.
        num_batches: batches per epoch.
        epoch_key: names the epoch and the process; the order of the windows depends on nothing else.
    """

    def __init__(
        self,
        trajectories: Trajectories,
        replay: ReplayBuffer,
        replay_ratio: float,
        window: int,
        batch_size: int,
        num_batches: int,
        epoch_key: Callable[[], tuple[int | str, ...]],
    ) -> None:
        self.trajectories, self.replay, self.replay_ratio = trajectories, replay, replay_ratio
        self.window, self.batch_size, self.num_batches = window, batch_size, num_batches
        self.epoch_key = epoch_key

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Window]:
        from_replay = round(self.replay_ratio * self.batch_size) if len(self.replay) else 0
        sources = []
        if from_replay < self.batch_size:
            collected = self._order(self.trajectories, self.batch_size - from_replay, "expert")
            sources.append((self.trajectories, collected))
        if from_replay:
            replay, weights = self.replay.trajectories, self.replay.window_weights(self.window)
            sources.append((replay, self._order(replay, from_replay, "replay", weights)))
        for batch in range(self.num_batches):
            parts = [trajectories.windows(order[batch], self.window) for trajectories, order in sources]
            yield parts[0] if len(parts) == 1 else Window(*map(torch.cat, zip(*parts)))

    def _order(self, trajectories: Trajectories, size: int, source: str, weights: Tensor | None = None) -> Tensor:
        """Window numbers `[num_batches, size]`: as many random permutations as it takes, one after the other.

        With weights `[num_windows]`, each number is drawn for itself, with a probability in proportion to its weight.
        """
        num_windows, needed = trajectories.num_windows(self.window), self.num_batches * size
        random = generator(*self.epoch_key(), "batches", source)
        if weights is not None:  # torch.multinomial takes no more than 2^24 of them.
            ends = weights.cumsum(0)
            places = ends[-1] * torch.rand(self.num_batches, size, generator=random, dtype=ends.dtype)
            return torch.searchsorted(ends, places, right=True).clamp(max=num_windows - 1)
        passes = [torch.randperm(num_windows, generator=random) for _ in range(-(-needed // num_windows))]
        return torch.cat(passes)[:needed].view(self.num_batches, size)


class OrderedWindows:
    """All windows of trajectories, once each, in order.

    Args:
        trajectories: where they are cut from.
        window: steps per window.
        transitions: per batch, about.
    """

    def __init__(self, trajectories: Trajectories, window: int, transitions: int = 8192) -> None:
        self.trajectories, self.window = trajectories, window
        self.batches = torch.arange(trajectories.num_windows(window)).split(max(1, transitions // window))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Window]:
        return (self.trajectories.windows(index, self.window) for index in self.batches)


class WindowDataModule(LightningDataModule):
    """Collected data, split by trajectory, mixed with a replay buffer.

    The checkpoint of a training run contains the replay buffer.

    Args:
        trajectories: collected data; the first 80 % train, the next 10 % validate, the last 10 % test.
        replay: the replay buffer.
        replay_ratio: share of replay data in a batch once there is any.
        batch_size: windows per training batch.
        steps_per_epoch: batches per epoch.
        seed: of the order of the windows.
        window: steps per window of the training batches; validation goes over whole trajectories.

    Raises:
        UserError: the trajectories are shorter than a window.
    """

    def __init__(
        self,
        trajectories: Trajectories,
        replay: ReplayBuffer,
        replay_ratio: float,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        window: int = 1,
    ) -> None:
        super().__init__()
        if window > trajectories.actions.shape[1]:
            raise UserError(
                f"A window of {window} steps does not fit into trajectories of {trajectories.actions.shape[1]} steps; "
                "make it shorter, or the trajectories longer."
            )
        self.train, self.validation, self.test = split(trajectories)
        self.replay, self.replay_ratio = replay, replay_ratio
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.seed, self.window = seed, window

    def train_dataloader(self) -> WindowBatches:
        return WindowBatches(
            self.train,
            self.replay,
            self.replay_ratio,
            self.window,
            self.batch_size,
            self.steps_per_epoch,
            lambda: (self.seed, self.trainer.current_epoch, self.trainer.global_rank),
        )

    def val_dataloader(self) -> OrderedWindows:
        # Whole trajectories: every transition counts once, whatever the window of the training.
        return OrderedWindows(self.validation, self.validation.actions.shape[1])

    def state_dict(self) -> dict[str, Any]:
        return self.replay.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.replay.load_state_dict(state_dict)


def split(trajectories: Trajectories) -> tuple[Trajectories, Trajectories, Trajectories]:
    """Training, validation and test trajectories: 80, 10 and 10 %, in the order of the file."""
    n = len(trajectories.actions)
    first, second = n * 8 // 10, n * 9 // 10
    return tuple(trajectories.subset(slice(*ends)) for ends in ((0, first), (first, second), (second, n)))
