"""The replay buffer: what happened when plans were executed."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.files import replacing

LEAST_PRIORITY = 0.01
"""What is added to each error when priorities are made of them, as a multiple of the mean error."""


class ReplayBuffer:
    """A bounded first-in, first-out store of trajectories of equal length.

    Windows of it may be drawn by priority: proportionally, as in Schaul et al. 2016 (arXiv 1511.05952, section 3.3),
    but without their importance weights: what the model gets wrong shall count for more.

    Args:
        capacity: how many transitions it holds; the oldest trajectories make room for the newest.
        priority_exponent: of the error on a window, in the weight with which it is drawn; 0 draws uniformly.
    """

    @validate_call
    def __init__(
        self, capacity: PositiveInt = 200_000, priority_exponent: Annotated[float, Field(ge=0, le=10)] = 0.0
    ) -> None:
        self.capacity, self.priority_exponent = capacity, priority_exponent
        self.added = 0
        """How many trajectories were ever added, or added since it was last emptied."""
        self._store: Trajectories | None = None
        self._errors: Tensor | None = None

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
        self._errors = None

    def clear(self) -> None:
        """Empties it."""
        self.added, self._store, self._errors = 0, None, None

    def prioritise(self, errors: Tensor) -> None:
        """Makes priorities of a model's one-step squared errors `[N, T]` on all that it holds, until more is added."""
        self._errors = errors.double()

    def window_weights(self, k: int) -> Tensor | None:
        """The weights with which windows of `k` steps are to be drawn, `[num_windows]`; none if all are alike.

        The error on a window is the mean of its steps'.
        """
        if self._errors is None:
            return None
        errors = self._errors.unfold(1, k, 1).mean(-1).flatten()
        # In units of their mean, so that the small constant is small in any simulator's units.
        relative = (errors / errors.mean()).nan_to_num(1.0)
        return (relative + LEAST_PRIORITY) ** self.priority_exponent

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
        self.clear()
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
