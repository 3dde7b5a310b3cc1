"""Any MuJoCo model as an engine."""

import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import ClassVar

import numpy as np

from gapclose.engines.engine import Engine


class MujocoEngine(Engine):
    """States are positions and velocities, `[qpos, qvel]`; actions are controls.

    The solver starts every step of the engine from nothing, not from the solution of the step before, which is no part
    of the state; up to the solver's tolerance the result is the same.

    Attributes:
        speed_limit: bound of each velocity when a step of the engine begins; none for none.
    """

    speed_limit: ClassVar[float | None] = None

    @abstractmethod
    def model(self):
        """The `mujoco.MjModel`, built anew."""

    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        model, data, batch = built(self)
        limit = np.inf if self.speed_limit is None else self.speed_limit
        steps = 1 if self.speed_limit is not None else hold  # Between limits, the engine may run.
        n = len(states)
        full = np.concatenate((np.zeros((n, 1)), states), 1)  # Time comes first; nothing depends on it.
        visited, sensed = np.empty((n, steps, full.shape[1])), np.empty((n, steps, model.nsensordata))
        settings = dict(
            skip_checks=True, nstep=steps, state=visited, sensordata=sensed
        )  # Checks take most of the time.
        for action in actions.swapaxes(0, 1):
            control = np.repeat(action[:, None], steps, 1)
            for _ in range(hold // steps):
                full[:, 1 + model.nq :].clip(-limit, limit, out=full[:, 1 + model.nq :])
                full[:, 0] = 0
                batch.rollout([model] * n, [data], full, control, **settings)
                full[:] = visited[:, -1]
        return full[:, 1:]


@cache
def built(engine: MujocoEngine):
    """Model, data, and what steps batches of states; made once in a process."""
    import mujoco
    from mujoco.rollout import Rollout

    model = engine.model()
    return model, mujoco.MjData(model), Rollout(nthread=0)


@contextmanager
def temporary_files_gone() -> Iterator[None]:
    """Within it, temporary files go to a folder that goes at its end: libraries leave models there."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
