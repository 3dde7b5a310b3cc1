"""The interface of engines: restore each state of a batch and step it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gapclose.errors import UserError


class Engine(ABC):
    """The physics of an environment.

    Engines are pickled and sent to worker processes. They hold only the settings from which each worker builds the
    simulation.

    Attributes:
        action_dim: number `A` of action coordinates.
    """

    action_dim: int

    @abstractmethod
    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """Computes one step of the simulator: a pure function of its arguments.

        Args:
            states: `float64 [n, S]`; each is restored before it is stepped.
            actions: `float64 [n, B, A]`: `B` actions, applied one after the other, inside the action bounds.
            hold: number of engine steps for which each action is held.

        Returns:
            Next states `float64 [n, S]`.
        """

    def rollout(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """Returns the states `float32 [n, T, S]` after each of `T` steps with actions `[n, T, B, A]`.

        The rollouts start from `states [n, S]`. Each step starts from the rounded result of the step before, so that
        one long rollout and several short ones give the same states.
        """
        visited = np.empty((len(states), actions.shape[1], states.shape[1]), np.float32)
        for step in range(actions.shape[1]):
            before = states if step == 0 else visited[:, step - 1]
            visited[:, step] = self.advance(before.astype(float), actions[:, step].astype(float), hold)
        return visited


@contextmanager
def optional_import(feature: str, extra: str) -> Iterator[None]:
    """Context manager for the import of an optional library.

    Args:
        feature: what needs the library, for the error message.
        extra: the extra of gapclose that installs it.

    Raises:
        UserError: the library is not installed, or cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"{feature} needs {error.name}, which is not installed; install it with pip install 'gapclose[{extra}]', "
            f"or in a checkout with pip install -e '.[{extra}]'."
        ) from error
    except Exception as error:  # Of any kind: a shared library is missing, or does not fit the installed one.
        graphics = f" MUJOCO_GL={os.environ['MUJOCO_GL']} or" if "MUJOCO_GL" in os.environ else ""
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{feature} cannot be used, as the import of a library fails ({type(error).__name__}: {reason}); correct"
            f"{graphics} the installation: pip install --force-reinstall 'gapclose[{extra}]'."
        ) from error
