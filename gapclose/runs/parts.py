"""What both entry points build from the configuration, before any work starts."""

from typing import NamedTuple, Self

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pydantic import NonNegativeInt, PositiveInt, validate_call

from gapclose.data.collect import ExpertData
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Objective


class Parts(NamedTuple):
    """The objects of the groups `env`, `data`, `objective`, and `mpc` with `planner` in it."""

    simulator: Simulator
    data: ExpertData
    objective: Objective
    mpc: MPC

    @classmethod
    def build(cls, config: DictConfig) -> Self:
        """Makes them, and refuses impossible settings by `UserError` or what `explain` makes a sentence of."""
        simulator = instantiate(config.env)
        planner = instantiate(config.planner, action_low=simulator.action_low, action_high=simulator.action_high)
        return cls(
            simulator, instantiate(config.data), instantiate(config.objective), instantiate(config.mpc, planner=planner)
        )


@validate_call
def check_run(seed: NonNegativeInt, num_threads: PositiveInt | None, num_tasks: PositiveInt, task_seed: int) -> None:
    """Refuses impossible settings of a run, and sets the number of threads.

    Args:
        seed: of the run.
        num_threads: of PyTorch; none leaves the choice to it.
        num_tasks: to evaluate on.
        task_seed: of these tasks.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"There is no device {name} here; give cpu, cuda or auto.") from error
