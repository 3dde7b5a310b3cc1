"""What every engine does: it restores states and steps them, one after the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gapclose.errors import UserError


class Engine(ABC):
    """The physics of an environment. It is sent to other processes: its attributes say what to build there, no more.

    Attributes:
        action_dim: number `A` of action coordinates.
    """

    action_dim: int

    @abstractmethod
    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """States after one step of a simulator; a pure function of its arguments.

        Args:
            states: `float64 [n, S]`; each is restored.
            actions: `float64 [n, B, A]`, inside the action bounds, one after the other.
            hold: how many steps of the engine each of them lasts.

        Returns:
            States `float64 [n, S]`.
        """

    def rollout(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """States `float32 [n, T, S]` after each of `T` steps with actions `[n, T, B, A]` from states `[n, S]`.

        Each step starts from the rounded result of the one before: it makes no difference who asks for how many.
        """
        visited = np.empty((len(states), actions.shape[1], states.shape[1]), np.float32)
        for step in range(actions.shape[1]):
            before = states if step == 0 else visited[:, step - 1]
            visited[:, step] = self.advance(before.astype(float), actions[:, step].astype(float), hold)
        return visited


@contextmanager
def installed(what: str, extra: str) -> Iterator[None]:
    """Within it a library is imported; raises `UserError` if it is not installed.

    Args:
        what: needs it.
        extra: of gapclose, that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"{what} needs {error.name}, which is not installed; get it by pip install 'gapclose[{extra}]', or in a "
            f"checkout by pip install -e '.[{extra}]'."
        ) from error
