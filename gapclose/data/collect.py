"""Expert data: the scripted expert, run in the simulator and stored where it is found again."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Annotated, Any

import torch
from filelock import FileLock
from pydantic import ConfigDict, Field, PositiveInt, validate_call

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.progress import track
from gapclose.settings import NonNegative

log = logging.getLogger(__name__)


def collect_expert(
    simulator: Simulator, num_trajectories: int, steps: int, action_noise: float, seed: int
) -> Trajectories:
    """Runs the expert on tasks of its own, all trajectories at once.

    Args:
        simulator: where it acts, and whose expert it is.
        num_trajectories: how many tasks.
        steps: length of each trajectory; an expert that has arrived stays at the goal.
        action_noise: standard deviation of the Gaussian noise on the actions, as a fraction of the action bounds.
        seed: of tasks and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    state, goal = simulator.sample_tasks(num_trajectories, generator)
    low, high = simulator.action_low, simulator.action_high
    states, actions = [state], []
    for _ in track(range(steps), "expert data", "step"):
        noise = action_noise * (high - low) / 2 * torch.randn(len(state), simulator.action_dim, generator=generator)
        actions.append((simulator.expert_action(states[-1], goal) + noise).clamp(low, high))
        states.append(simulator.step(states[-1], actions[-1]))
    return Trajectories(torch.stack(states, 1), torch.stack(actions, 1))


class ExpertData:
    """Expert trajectories on disk: made on first use, found by everything that determines them, checked on loading.

    Args:
        folder: where the files lie.
        num_trajectories, steps, action_noise, seed: as in `collect_expert`.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        folder: Path,
        num_trajectories: Annotated[int, Field(ge=10)] = 1000,
        steps: PositiveInt = 30,
        action_noise: NonNegative = 0.1,
        seed: int = 0,
    ) -> None:
        self.folder = folder
        self.settings = dict(num_trajectories=num_trajectories, steps=steps, action_noise=action_noise, seed=seed)

    def path(self, simulator: Simulator) -> Path:
        """The file of this data for this simulator."""
        key = key_of({"env": simulator.settings, **self.settings})
        return self.folder / f"{simulator.name}-expert-{key}.safetensors"

    def load(self, simulator: Simulator) -> Trajectories:
        """The trajectories, made now if there are none; of several runs that ask at once, one makes them.

        Raises:
            UserError: the file is damaged (see `Trajectories.load`).
        """
        path = self.path(simulator)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                collect_expert(simulator, **self.settings).save(path)
                log.info("Wrote %d expert trajectories to %s", self.settings["num_trajectories"], path)
        return Trajectories.load(path)


def key_of(settings: dict[str, Any]) -> str:
    """A short name for settings: equal settings have equal names."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()
