"""The base class of all LightningModules: optimizer and schedule, seeds, and logging of the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gapclose.data.trajectories import Window
from gapclose.errors import UserError
from gapclose.seeds import derive_seed


class TrainingModule(LightningModule, ABC):
    """Minimises a loss on windows of trajectories.

    Args:
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning-rate schedule from the optimizer.
        scheduler_interval: whether the schedule advances after each `step` or after each `epoch`.
        name: prefix of the logged metrics.
        seed: seed of all random numbers in training steps.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        scheduler_interval: Literal["step", "epoch"] = "epoch",
        name: str = "train",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if scheduler_interval not in ("step", "epoch"):
            raise UserError(f"scheduler_interval is {scheduler_interval!r}; give step or epoch.")
        self.optimizer, self.scheduler, self.scheduler_interval = optimizer, scheduler, scheduler_interval
        self.name, self.seed = name, seed
        self.losses: list[Tensor] = []
        self.has_started = False
        """Whether a step has been made, if from a checkpoint, then with its state."""

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(self.parameters())
        schedule = {"scheduler": self.scheduler(optimizer), "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        # Seeded per epoch, so that a resumed run draws the same numbers as an uninterrupted one.
        torch.manual_seed(derive_seed(self.seed, self.name, self.current_epoch, self.global_rank))
        self.losses.clear()

    def training_step(self, window: Window) -> Tensor:
        loss = self.training_loss(window)
        self.losses.append(loss.detach())  # Logging each step would take as long as the step of a small model.
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.has_started = True

    def on_train_epoch_end(self) -> None:
        self.log(f"{self.name}/loss", torch.stack(self.losses).mean(), prog_bar=True, sync_dist=True)
        self.losses.clear()

    def validation_step(self, window: Window) -> None:
        error = self.expert_error(window)
        self.log(f"{self.name}/expert_error", error, prog_bar=True, sync_dist=True, batch_size=len(window.actions))

    @abstractmethod
    def training_loss(self, window: Window) -> Tensor:
        """Returns the loss to minimise on a window, a scalar."""

    @abstractmethod
    def expert_error(self, window: Window) -> Tensor:
        """Returns the error on held-out data by which the best checkpoint is chosen, a scalar."""
