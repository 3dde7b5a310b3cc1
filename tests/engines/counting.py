"""An engine that sums up actions, and that kills its worker or raises an error on certain states."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gapclose.engines.engine import Engine


@dataclass(frozen=True)
class CountingEngine(Engine):
    """The state is the sum of all actions so far.

    A state of 13 kills its worker, once for each file in the folder; a state of 14 raises an error.
    """

    folder: str = ""
    action_dim = 1

    def advance(self, states, actions, hold):
        if (states == 13).any():
            for path in sorted(Path(self.folder).iterdir()):
                path.unlink(missing_ok=True)  # Another worker may have taken the same one.
                os.kill(os.getpid(), signal.SIGKILL)
        if (states == 14).any():
            raise ArithmeticError("fourteen")
        return states + hold * actions.sum(1)


def transitions(n, steps=8):
    """States `[n, 1]`, all different and all even, and actions `[n, steps, 2, 1]`."""
    actions = np.random.default_rng(0).integers(0, 5, (n, steps, 2, 1)) * 2.0
    return 20.0 + 2 * np.arange(n)[:, None], actions
