"""Builds the objects that all commands need from the configuration."""

from typing import NamedTuple, Self

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from gapclose.building import build
from gapclose.data.collect import CollectedData
from gapclose.data.trajectories import Trajectories
from gapclose.engines.pool import workers
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.explanation import naming_setting
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.initialization import Init, PolicyRollouts
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.runs.storage.shared_models import train_policy
from gapclose.seeds import derive_seed
from gapclose.training.stage import Stage


class Parts(NamedTuple):
    """Objects of the config groups `env`, `data`, `objective`, `planner` with `init`, and `mpc` with `adaptation`."""

    simulator: Simulator
    data: CollectedData
    objective: Objective
    planner: Planner
    mpc: MPC | None
    """`None` if the configuration has no group `mpc`."""
    policy_training: Stage | None
    """Trains the policy of `init=policy`; `None` for any other `init`."""

    @classmethod
    def build(cls, config: DictConfig) -> Self:
        """Builds the objects.

        Raises:
            UserError: a setting is impossible; likewise the errors of Hydra and pydantic that `explain` handles.
        """
        simulator = build(config.env, Simulator, "env")
        bounds = {"action_low": simulator.action_low, "action_high": simulator.action_high}
        init, training = build(config.init, Init, "init"), None
        if isinstance(init, PolicyRollouts):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(config.policy.seed, "policy"))
                settings = {"state_dim": simulator.state_dim, **bounds}
                init.policy = build(config.policy.network, GoalConditionedPolicy, "policy.network", **settings)
            training = build(config.policy.training, Stage, "policy.training")
            with naming_setting("policy.training.module"):
                training.check(init.policy, config, "policy.training")
        planner = build(config.planner, Planner, "planner", init=init, **bounds)
        mpc = build_mpc(config, planner) if "mpc" in config else None
        objective = build(config.objective, Objective, "objective", goal_weights=simulator.goal_weights)
        data = build(config.data, CollectedData, "data")
        return cls(simulator, data, objective, planner, mpc, training)

    def train_policy(self, trajectories: Trajectories, config: DictConfig, logger: Logger | None = None) -> None:
        """Trains or loads the policy of `init=policy`; does nothing for any other `init`."""
        if self.policy_training:
            policy = self.planner.init.policy
            train_policy(self.policy_training, policy, trajectories, self.simulator, config, logger)


def build_mpc(config: DictConfig, planner: Planner) -> MPC:
    """Builds MPC with a planner from the groups `mpc` and `adaptation`."""
    adaptation = instantiate(config.adaptation)
    if adaptation and config.compile:
        raise UserError("A compiled model cannot be adapted; leave out compile=true or adaptation.")
    return build(config.mpc, MPC, "mpc", planner=planner, adaptation=adaptation)


def pick_device(name: str) -> torch.device:
    """Returns the device with this name; `auto` is a GPU if there is one.

    Raises:
        UserError: the device does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if name == "meta":  # Its tensors have no values.
            raise RuntimeError(name)
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"There is no device {name} on this machine; give cpu, cuda or auto.") from error


def set_threads(num_threads: int | None, num_workers: int | None) -> None:
    """Sets the numbers of threads and worker processes.

    Args:
        num_threads: threads of PyTorch; `None` leaves the choice to PyTorch.
        num_workers: simulation processes of a physics engine; `None` starts as many as PyTorch has threads.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    workers.resize(torch.get_num_threads() if num_workers is None else num_workers)
