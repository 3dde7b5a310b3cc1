"""The replay buffer: what happened when plans were executed."""

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.files import replacing


class ReplayBuffer:
    """A bounded first-in, first-out store of trajectories of equal length.

    Args:
        capacity: how many transitions it holds; the oldest trajectories make room for the newest.
    """

    @validate_call
    def __init__(self, capacity: PositiveInt = 200_000) -> None:
        self.capacity = capacity
        self.added = 0
        """How many trajectories were ever added."""
        self._store: Trajectories | None = None

    def __len__(self) -> int:
        """How many trajectories it holds."""
        return 0 if self._store is None else min(self.added, len(self._store.actions))

    @property
    def trajectories(self) -> Trajectories:
        """All that it holds; a view. Meaningful only when it is not empty."""
        return self._store.subset(slice(0, len(self)))

    def add(self, states: Tensor, actions: Tensor) -> None:
        """Adds trajectories with states `[N, T+1, S]` and actions `[N, T, A]`.

        Raises:
            ValueError: their length differs from that of the trajectories held, or exceeds the capacity.
        """
        steps = actions.shape[1]
        if self._store is None:
            rows = self.capacity // steps
            if rows == 0:
                raise ValueError(f"capacity {self.capacity} is less than one trajectory of {steps} steps.")
            self._store = Trajectories(
                states.new_empty(rows, *states.shape[1:]), actions.new_empty(rows, *actions.shape[1:])
            )
        if steps != self._store.actions.shape[1]:
            raise ValueError(f"got trajectories of {steps} steps; this buffer holds {self._store.actions.shape[1]}.")
        rows = len(self._store.actions)
        kept = slice(max(0, len(actions) - rows), None)
        index = torch.arange(self.added, self.added + len(actions))[kept] % rows
        self._store.states[index] = states[kept]
        self._store.actions[index] = actions[kept]
        self.added += len(actions)

    def state_dict(self) -> dict[str, Any]:
        """Its contents, for a checkpoint."""
        held = {} if self._store is None else {k: v.clone() for k, v in self.trajectories._asdict().items()}
        return {"capacity": self.capacity, "added": self.added, **held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the contents of another buffer.

        Raises:
            ValueError: its capacity was another.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(f"the state is that of a buffer of capacity {state['capacity']}, not {self.capacity}.")
        self.added, self._store = 0, None
        if "actions" in state:
            self.add(state["states"], state["actions"])
        self.added = state["added"]

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        with replacing(path) as temporary:
            torch.save(self.state_dict(), temporary)

    def load(self, path: Path) -> None:
        """Takes over the contents of a file written by `save`."""
        self.load_state_dict(torch.load(path, weights_only=True))
