"""What both entry points build from the configuration, before any work starts."""

from typing import NamedTuple, Self

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

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
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        simulator = instantiate(config.env)
        planner = instantiate(config.planner, action_low=simulator.action_low, action_high=simulator.action_high)
        return cls(
            simulator, instantiate(config.data), instantiate(config.objective), instantiate(config.mpc, planner=planner)
        )


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
