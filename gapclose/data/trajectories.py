"""Trajectories, the windows cut from them, and their file format."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gapclose.errors import UserError
from gapclose.explanation import one_line
from gapclose.files import is_there, replacing


class Window(NamedTuple):
    """A batch of parts of trajectories, `k` steps long.

    Attributes:
        states: `[B, k+1, S]`.
        actions: `[B, k, A]`.
    """

    states: Tensor
    actions: Tensor


class Trajectories(NamedTuple):
    """`N` trajectories of `T` steps each.

    Attributes:
        states: `[N, T+1, S]`, in the simulator's units.
        actions: executed actions `[N, T, A]`, inside the action bounds.
    """

    states: Tensor
    actions: Tensor

    def num_windows(self, k: int) -> int:
        """Number of windows of `k` steps."""
        return self.actions.shape[0] * (self.actions.shape[1] - k + 1)

    def windows(self, index: Tensor, k: int) -> Window:
        """Returns the windows of `k` steps with indices `index [B]`, with one gather each for states and actions."""
        steps = self.actions.shape[1]
        trajectory, first = index // (steps - k + 1), index % (steps - k + 1)
        offsets = torch.arange(k + 1, device=index.device)
        state_rows = (trajectory * (steps + 1) + first)[:, None] + offsets
        action_rows = (trajectory * steps + first)[:, None] + offsets[:-1]
        return Window(
            self.states.flatten(0, 1)[state_rows.flatten()].unflatten(0, state_rows.shape),
            self.actions.flatten(0, 1)[action_rows.flatten()].unflatten(0, action_rows.shape),
        )

    def subset(self, rows: slice) -> "Trajectories":
        """Returns the trajectories in `rows`, as a view."""
        return Trajectories(self.states[rows], self.actions[rows])

    def pieces(self, steps: int) -> "Trajectories":
        """Cuts each trajectory into consecutive ones of `steps` steps, and drops the rest at its end.

        Trajectories shorter than `steps` stay whole.
        """
        steps = min(steps, self.actions.shape[1])
        count = self.actions.shape[1] // steps
        states = self.states[:, : count * steps + 1].unfold(1, steps + 1, steps).movedim(-1, 2)
        return Trajectories(
            states.flatten(0, 1), self.actions[:, : count * steps].unflatten(1, (count, steps)).flatten(0, 1)
        )

    def save(self, path: Path) -> None:
        """Writes a file, completely or not at all."""
        tensors = {name: tensor.contiguous() for name, tensor in self._asdict().items()}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={"digest": self.digest()})

    @classmethod
    def load(cls, path: Path) -> "Trajectories":
        """Loads the trajectories of a file, memory-mapped.

        Raises:
            UserError: the file is truncated or altered, or its shapes or values are invalid.
            OSError: the file cannot be opened.
        """
        if not is_there(path):
            raise UserError(f"There is no data file {path}; give the path of one.")
        with path.open("rb"):
            pass  # Whatever fails from here on is due to the contents.
        try:
            with safe_open(path, framework="pt") as file:
                digest = (file.metadata() or {}).get("digest")
                trajectories = cls(file.get_tensor("states"), file.get_tensor("actions"))
        except Exception as error:  # Also KeyError, RuntimeError and TypeError, for some data types.
            raise UserError(
                f"The data file {path} cannot be read ({one_line(str(error))[:100]}); delete it, and the next run "
                "collects the data again."
            ) from error
        states, actions = trajectories
        wrong = (
            not (states.is_floating_point() and actions.is_floating_point())
            or states.dim() != 3
            or actions.dim() != 3
            or 0 in states.shape
            or 0 in actions.shape
        )
        if wrong or states.shape[:2] != (len(actions), actions.shape[1] + 1):
            raise UserError(
                f"The data file {path} holds states {list(states.shape)} and actions {list(actions.shape)}, of "
                f"{states.dtype} and {actions.dtype}; expected floating-point numbers [N, T+1, S] and [N, T, A]."
            )
        if not (states.isfinite().all() and actions.isfinite().all()):
            raise UserError(f"The data file {path} holds NaN or infinite values; delete it, or correct its source.")
        if digest != trajectories.digest():
            raise UserError(
                f"The data file {path} has been altered since it was written (its checksum does not match); "
                "delete it, and the next run collects the data again."
            )
        return trajectories

    def digest(self) -> str:
        """Returns a checksum of the contents."""
        hasher = hashlib.blake2b(digest_size=16)
        for tensor in self:
            hasher.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            hasher.update(memoryview(tensor.contiguous().numpy()).cast("B"))
        return hasher.hexdigest()
