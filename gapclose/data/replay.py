"""The replay buffer: trajectories of executed plans."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.tensor_files import read_tensor_file

LEAST_PRIORITY = 0.01
"""Constant added to each error to get a positive priority, as a multiple of the mean error."""


class ReplayBuffer:
    """A bounded first-in, first-out store of trajectories of equal length.

    Windows may be drawn by priority: proportionally, as in Schaul et al. 2016 (arXiv 1511.05952, section 3.3), but
    without importance weights, because windows with large model error are meant to count more.

    Args:
        capacity: number of transitions it holds; new trajectories replace the oldest ones.
        priority_exponent: exponent of a window's model error in its sampling weight; 0 samples uniformly.
    """

    @validate_call
    def __init__(
        self, capacity: PositiveInt = 200_000, priority_exponent: Annotated[float, Field(ge=0, le=10)] = 0.0
    ) -> None:
        self.capacity, self.priority_exponent = capacity, priority_exponent
        self.added = 0
        """Number of trajectories added since the buffer was made or last cleared."""
        self._store: Trajectories | None = None
        self._errors: Tensor | None = None

    def __len__(self) -> int:
        """Number of trajectories it holds."""
        return 0 if self._store is None else min(self.added, len(self._store.actions))

    @property
    def trajectories(self) -> Trajectories:
        """All trajectories it holds, as a view; only valid if the buffer is not empty."""
        return self._store.subset(slice(0, len(self)))

    def add(self, states: Tensor, actions: Tensor) -> None:
        """Adds trajectories with states `[N, T+1, S]` and actions `[N, T, A]`.

        Raises:
            ValueError: their length differs from that of the stored trajectories, or exceeds the capacity.
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
        self._errors = None

    def clear(self) -> None:
        """Removes all trajectories."""
        self.added, self._store, self._errors = 0, None, None

    def prioritise(self, errors: Tensor) -> None:
        """Sets priorities from one-step squared errors `[N, T]` on all trajectories; valid until more are added."""
        self._errors = errors.double()

    def window_weights(self, k: int) -> Tensor | None:
        """Returns the sampling weights of windows of `k` steps, `[num_windows]`; `None` if there are no priorities.

        The error on a window is the mean over its steps.
        """
        if self._errors is None:
            return None
        errors = self._errors.unfold(1, k, 1).mean(-1).flatten()
        # Relative to the mean, so that the added constant is small in the units of any simulator.
        relative = (errors / errors.mean()).nan_to_num(1.0)
        return (relative + LEAST_PRIORITY) ** self.priority_exponent

    def state_dict(self) -> dict[str, Any]:
        """Returns the contents, for a checkpoint."""
        held = {} if self._store is None else {k: v.clone() for k, v in self.trajectories._asdict().items()}
        return {"capacity": self.capacity, "added": self.added, **held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replaces the contents by those of another buffer.

        Raises:
            ValueError: the other buffer has a different capacity, or the state is not one of a replay buffer.
        """
        require_valid_state(state)
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the state is that of a replay buffer of capacity {state['capacity']}, but this one has capacity "
                f"{self.capacity}."
            )
        self.clear()
        if "actions" in state:
            self.add(state["states"], state["actions"])
        self.added = state["added"]

    def save(self, path: Path) -> None:
        """Writes the contents to a file, completely or not at all."""
        with replacing(path) as temporary:
            torch.save(self.state_dict(), temporary)

    def load(self, path: Path) -> None:
        """Replaces the contents by those of a file written by `save`, which may come from a stranger.

        Raises:
            UserError: the file does not exist, is damaged, or is that of another replay buffer.
            OSError: the file cannot be opened.
        """
        state = read_tensor_file(Path(path), "replay buffer", "give a file that ReplayBuffer.save wrote")
        try:
            self.load_state_dict(state)
        except (ValueError, RuntimeError, MemoryError) as error:  # Few trajectories may ask for much room for more.
            reason = str(error).rstrip(".") if isinstance(error, ValueError) else "it does not fit into memory"
            raise UserError(f"{path} cannot be loaded, as {reason}; give the file of such a replay buffer.") from error


def require_valid_state(state: dict[str, Any]) -> None:
    """Raises `ValueError` unless the state is one of `ReplayBuffer.state_dict`."""
    if not {"capacity", "added"} <= state.keys() <= {"capacity", "added", "states", "actions"}:
        raise ValueError("it is not the state of a replay buffer")
    if not all(type(state[name]) is int and 0 <= state[name] < 2**62 for name in ("capacity", "added")):
        raise ValueError("capacity and added of the replay buffer are not both numbers")
    states, actions = state.get("states"), state.get("actions")
    if states is None and actions is None:
        if state["added"]:
            raise ValueError("the replay buffer lacks its trajectories")
        return
    for tensor in (states, actions):
        if (
            not isinstance(tensor, Tensor)
            or tensor.dtype != torch.float32
            or tensor.dim() != 3
            or 0 in tensor.shape[1:]
        ):
            raise ValueError("states and actions of the replay buffer are not tensors [N, T+1, S] and [N, T, A]")
        if not tensor.isfinite().all():
            raise ValueError("the replay buffer holds NaN or infinite values")
    rows = state["capacity"] // actions.shape[1]
    if states.shape[:2] != (len(actions), actions.shape[1] + 1) or len(actions) != min(state["added"], rows):
        raise ValueError(
            f"the replay buffer holds states {list(states.shape)} and actions {list(actions.shape)} of "
            f"{state['added']} trajectories, which do not fit together"
        )
