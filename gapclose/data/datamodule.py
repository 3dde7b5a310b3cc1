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
    """Random batches of windows, with a fixed share of replay data once the replay buffer is not empty.

    It has a length and can be iterated, which is all that Lightning needs of a data loader. Each batch is one gather
    from the tensors, without workers or collation.

    Args:
        trajectories: the training split.
        replay: the replay buffer; it may grow between epochs.
        replay_ratio: share of replay data in a batch.
        window: steps per window.
        batch_size: windows per batch.
        num_batches: batches per epoch.
        epoch_key: returns the seed, the epoch and the process; together they determine the order of the windows.
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
        """Returns window indices `[num_batches, size]`: random permutations, one after the other.

        With weights `[num_windows]`, indices are drawn independently, with probabilities proportional to the weights.
        """
        num_windows, needed = trajectories.num_windows(self.window), self.num_batches * size
        random = generator(*self.epoch_key(), "batches", source)
        if weights is not None:  # By hand: torch.multinomial takes no more than 2^24 weights.
            ends = weights.cumsum(0)
            draws = ends[-1] * torch.rand(self.num_batches, size, generator=random, dtype=ends.dtype)
            return torch.searchsorted(ends, draws, right=True).clamp(max=num_windows - 1)
        passes = [torch.randperm(num_windows, generator=random) for _ in range(-(-needed // num_windows))]
        return torch.cat(passes)[:needed].view(self.num_batches, size)


class OrderedWindows:
    """All windows of trajectories, once each, in order.

    Args:
        trajectories: the trajectories.
        window: steps per window.
        transitions: approximate number of transitions per batch.
    """

    def __init__(self, trajectories: Trajectories, window: int, transitions: int = 8192) -> None:
        self.trajectories, self.window = trajectories, window
        self.batches = torch.arange(trajectories.num_windows(window)).split(max(1, transitions // window))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Window]:
        return (self.trajectories.windows(index, self.window) for index in self.batches)


class WindowDataModule(LightningDataModule):
    """Collected data, split by trajectory and mixed with a replay buffer.

    The replay buffer is part of the checkpoints of a training run.

    Args:
        trajectories: collected data: 80 % for training, then 10 % for validation and 10 % for testing.
        replay: the replay buffer.
        replay_ratio: share of replay data in a batch once the buffer is not empty.
        batch_size: windows per training batch.
        steps_per_epoch: batches per epoch.
        seed: seed of the order of the windows.
        window: steps per training window; validation uses whole trajectories.

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
                "use a shorter window or longer trajectories (data.steps)."
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
        # With whole trajectories, every transition counts once, whatever the training window is.
        return OrderedWindows(self.validation, self.validation.actions.shape[1])

    def state_dict(self) -> dict[str, Any]:
        return self.replay.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, collected in self.train._asdict().items():  # Before the buffer takes memory for its capacity.
            held = state_dict.get(name, collected)
            if held.shape[2] != collected.shape[2]:
                raise ValueError(
                    f"the replay buffer has {held.shape[2]} numbers where the data have {collected.shape[2]}"
                )
        self.replay.load_state_dict(state_dict)


def split(trajectories: Trajectories) -> tuple[Trajectories, Trajectories, Trajectories]:
    """Splits trajectories into training (80 %), validation (10 %) and test (10 %), in the order of the file."""
    n = len(trajectories.actions)
    first, second = n * 8 // 10, n * 9 // 10
    return tuple(trajectories.subset(slice(*ends)) for ends in ((0, first), (first, second), (second, n)))
