"""Data collection: runs a behaviour in a simulator, and stores the trajectories under a name made of their settings."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, PositiveInt, validate_call

from gapclose.data.behaviours import Behaviour
from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.files import is_there, remove_partial
from gapclose.locks import PathLock
from gapclose.progress import track
from gapclose.setting_types import Seed
from gapclose.user_code import code_of

log = logging.getLogger(__name__)

MOST_TRANSITIONS = 10**7
"""How many steps of the simulator the data of a run may have. They are collected in memory."""


def collect(simulator: Simulator, behaviour: Behaviour, num_trajectories: int, steps: int, seed: int) -> Trajectories:
    """Runs a behaviour on tasks of the simulator, all trajectories at once.

    Args:
        simulator: the simulator.
        behaviour: the behaviour that acts in it.
        num_trajectories: number of trajectories, each with its own task.
        steps: length of each trajectory; it does not end at the goal.
        seed: seed of the tasks and of the behaviour.
    """
    generator = torch.Generator().manual_seed(seed)
    state, goal = simulator.sample_tasks(num_trajectories, generator)
    policy = behaviour.policy(simulator, goal, generator)
    states, actions = [state], []
    for _ in track(range(steps), f"{behaviour.name} data", "step"):
        actions.append(policy(states[-1]).clamp(simulator.action_low, simulator.action_high))
        states.append(simulator.step(states[-1], actions[-1]))
    return Trajectories(torch.stack(states, 1), torch.stack(actions, 1))


class CollectedData:
    """Trajectories on disk: collected on first use, named by a hash of their settings, and verified when loaded.

    Args:
        folder: folder of the data files.
        behaviour: as in `collect`.
        num_trajectories: as in `collect`.
        steps: as in `collect`.
        seed: as in `collect`.

    Raises:
        UserError: there are more than `MOST_TRANSITIONS` steps.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        folder: Path,
        behaviour: Behaviour,
        num_trajectories: Annotated[int, Field(ge=10)] = 1000,
        steps: PositiveInt = 30,
        seed: Seed = 0,
    ) -> None:
        if num_trajectories * steps > MOST_TRANSITIONS:
            raise UserError(
                f"data.num_trajectories is {num_trajectories} and data.steps is {steps}, which is more than "
                f"{MOST_TRANSITIONS:,} steps in all; reduce one of them."
            )
        self.folder, self.behaviour = folder, behaviour
        self.settings = dict(num_trajectories=num_trajectories, steps=steps, seed=seed)

    def path(self, simulator: Simulator) -> Path:
        """Path of the data file for this simulator."""
        settings = {"env": simulator.settings, "behaviour": self.behaviour.settings, **self.settings}
        key = hash_of(settings, code_of(simulator, self.behaviour))
        return self.folder / f"{simulator.name}-{self.behaviour.name}-{key}.safetensors"

    def load(self, simulator: Simulator) -> Trajectories:
        """Loads the trajectories, and collects them first if there is no file; of several concurrent runs, one does.

        Raises:
            UserError: the file is damaged (see `Trajectories.load`), or does not fit the settings.
        """
        path = self.path(simulator)
        if not is_there(path):  # Otherwise the folder may be read-only.
            path.parent.mkdir(parents=True, exist_ok=True)
            with PathLock(f"{path}.lock"):
                if not is_there(path):
                    remove_partial(path.parent, path.name)
                    collect(simulator, self.behaviour, **self.settings).save(path)
                    what = f"{self.settings['num_trajectories']} {self.behaviour.name} trajectories"
                    log.info("Wrote %s to %s", what, path)
        sizes = (self.settings["num_trajectories"], self.settings["steps"], simulator.state_dim, simulator.action_dim)
        return Trajectories.load(path, sizes)


def hash_of(settings: dict[str, Any], code: dict[str, str] | None = None) -> str:
    """Returns a short hash of settings and of the user's code, as from `code_of`; equal ones have equal hashes."""
    if code:
        settings = {**settings, "code": code}
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()
