"""The engine base class for MuJoCo models."""

import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import ClassVar

import numpy as np

from gapclose.engines.engine import Engine, optional_import


class MujocoEngine(Engine):
    """Steps a MuJoCo model. States are positions and velocities, `[qpos, qvel]`; actions are controls.

    The solver has no warm start: its last solution is not part of the state, so each engine step starts without it. Up
    to the solver's tolerance the result is the same.

    Attributes:
        speed_limit: bound of each velocity at the start of an engine step; `None` means no bound.
    """

    speed_limit: ClassVar[float | None] = None

    @abstractmethod
    def model(self):
        """Builds a new `mujoco.MjModel`."""

    def advance(self, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        model, data, batch = build_rollout(self)
        limit = np.inf if self.speed_limit is None else self.speed_limit
        steps = 1 if self.speed_limit is not None else hold  # A speed limit is applied before every engine step.
        n = len(states)
        full = np.concatenate((np.zeros((n, 1)), states), 1)  # MuJoCo's first entry is the time; nothing depends on it.
        visited, sensed = np.empty((n, steps, full.shape[1])), np.empty((n, steps, model.nsensordata))
        # Without skip_checks, the checks would take most of the time.
        settings = dict(skip_checks=True, nstep=steps, state=visited, sensordata=sensed)
        for action in actions.swapaxes(0, 1):
            control = np.repeat(action[:, None], steps, 1)
            for _ in range(hold // steps):
                full[:, 1 + model.nq :].clip(-limit, limit, out=full[:, 1 + model.nq :])
                full[:, 0] = 0
                batch.rollout([model] * n, [data], full, control, **settings)
                full[:] = visited[:, -1]
        return full[:, 1:]


@cache
def build_rollout(engine: MujocoEngine):
    """Returns the model, its data, and MuJoCo's batched stepper, built once per process."""
    with optional_import(type(engine).__name__.removesuffix("Engine"), "mujoco"):
        import mujoco
        from mujoco.rollout import Rollout

    model = engine.model()
    return model, mujoco.MjData(model), Rollout(nthread=0)


@contextmanager
def discard_temporary_files() -> Iterator[None]:
    """Context manager: temporary files go to a folder that is deleted at the end. Libraries leave model files there."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
