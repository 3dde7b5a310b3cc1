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
    def load(cls, path: Path, expected: tuple[int, int, int, int] | None = None) -> "Trajectories":
        """Loads the trajectories of a file, memory-mapped.

        Args:
            path: the file.
            expected: `N`, `T`, `S` and `A` of single-precision data; by default any, in any precision.

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
                held = [file.get_slice(name) for name in cls._fields]
                # First of all, as the wrong data may not fit into memory.
                require_shapes(
                    path, *(part.get_shape() for part in held), {part.get_dtype() for part in held}, expected
                )
                states, actions = trajectories = cls(*map(file.get_tensor, cls._fields))
        except UserError:
            raise
        except Exception as error:  # Also KeyError, RuntimeError and TypeError, for some data types.
            raise UserError(
                f"The data file {path} cannot be read ({one_line(str(error))[:100]}); delete it, and the next run "
                "collects the data again."
            ) from error
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


def require_shapes(
    path: Path,
    states: list[int],
    actions: list[int],
    types: set[str],
    expected: tuple[int, int, int, int] | None,
) -> None:
    """Checks the shapes and types of the tensors in a data file; arguments as in `Trajectories.load`.

    Raises:
        UserError: they are not those of trajectories, or not the expected ones.
    """
    like = len(states) == len(actions) == 3 and states[:2] == [actions[0], actions[1] + 1]
    if not like or 0 in (*states, *actions) or not types <= {"F16", "F32", "F64"}:
        raise UserError(
            f"The data file {path} holds states {states} and actions {actions} of type {' and '.join(sorted(types))}; "
            "expected floating-point numbers [N, T+1, S] and [N, T, A]."
        )
    held = (*actions[:2], states[2], actions[2])
    if expected and (held != expected or types != {"F32"}):
        raise UserError(
            f"The data file {path} is of other data than its name says (trajectories, steps, numbers in a state and in "
            f"an action are {held}, not {expected}, or not single precision); delete it, and the next run collects the "
            "data again."
        )
