"""Makes Lightning's Trainer, which learns from the run what its process is, and not from the environment."""

from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig

from gapclose.building import build
from gapclose.errors import UserError
from gapclose.processes import external_starter, rank

STRATEGIES = (None, "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
"""Values of `trainer.strategy` that stages obey."""


class RunEnvironment(LightningEnvironment):
    """The processes of a run on one machine, all of which exist when a Trainer is made."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return rank()

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Changes nothing: the run ends its processes."""


def make_trainer(config: DictConfig, plugins: tuple[Any, ...] = (), **arguments: Any) -> Trainer:
    """Makes a Trainer.

    Args:
        config: configuration of the run; its `trainer` makes the Trainer.
        plugins: plugins of the Trainer, besides the one that knows the processes.
        arguments: further arguments of the Trainer.

    Raises:
        UserError: the settings ask for processes that the run does not start.
    """
    settings, starter = config.trainer, external_starter(config)
    if settings.get("strategy") not in STRATEGIES:
        raise UserError(f"trainer.strategy is {settings.strategy}, which stages do not obey; give null or ddp.")
    trainer = build(settings, Trainer, "trainer", plugins=[starter or RunEnvironment(), *plugins], **arguments)
    processes = trainer.num_devices * trainer.num_nodes
    if processes > 1 and settings.get("strategy") is None:
        raise UserError(
            f"trainer.devices is {settings.devices}, which takes {processes} processes; add trainer=ddp, or give "
            "trainer.devices=1."
        )
    if starter is None and trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes is {trainer.num_nodes}, but the run starts processes on this machine only; start it "
            "by srun or torchrun, or leave num_nodes out."
        )
    if starter and starter.world_size() != processes:
        raise UserError(
            f"{starter.world_size()} processes were started, but trainer.devices and trainer.num_nodes make "
            f"{processes}; make them equal."
        )
    return trainer
