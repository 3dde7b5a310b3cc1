"""One stage of training: the baseline, or a finetuning."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pydantic import ConfigDict, PositiveInt, ValidationError, validate_call
from torch import nn

from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.settings import Fraction, NonNegative
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.checkpoint import AtomicCheckpointIO, StoreConfig
from gapclose.training.planner_rollouts import PlannerRollouts
from gapclose.training.training_module import TrainingModule


class Stage:
    """Training for a number of epochs, which goes on where an interrupted run of the same stage left off.

    Args:
        module: makes the LightningModule from the model.
        epochs: how many.
        steps_per_epoch: gradient steps of each.
        batch_size: windows per gradient step.
        replay: the replay buffer that training mixes with the collected data.
        replay_ratio: its share of each batch once it holds anything.
        rollouts: makes the callback that fills it; none fills it with nothing.
        window: steps of each rollout in training; a window of the data begins with as many steps more as the model
            looks back. None cuts nothing and takes whole trajectories.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        module: Any,
        epochs: PositiveInt,
        steps_per_epoch: PositiveInt,
        batch_size: PositiveInt,
        replay: ReplayBuffer | None = None,
        replay_ratio: Fraction = 0.0,
        rollouts: Any = None,
        window: PositiveInt | None = 1,
    ) -> None:
        self.module, self.epochs, self.steps_per_epoch, self.batch_size = module, epochs, steps_per_epoch, batch_size
        self.replay = ReplayBuffer() if replay is None else replay
        # In a sweep, `++finetune.rollouts.plans_per_epoch=50` is for the modes that make any.
        self.rollouts = rollouts if callable(rollouts) else None
        self.replay_ratio, self.window = replay_ratio, window

    def check(self, model: nn.Module, config: DictConfig) -> None:
        """Makes optimizer, schedule and Trainer once, so that impossible settings of theirs show before any work.

        Raises:
            UserError: they cannot be made, windows do not fit into the trajectories, or the Trainer is to count epochs.
            ValidationError: a setting of the module is of the wrong type or out of range.
        """
        if config.trainer.get("max_epochs") is not None:
            raise UserError(
                f"trainer.max_epochs is {config.trainer.max_epochs}, but every stage of training has its own number of "
                "epochs; leave it out and give baseline.epochs, finetune.epochs or policy.training.epochs."
            )
        room = config.data.steps
        require_room(self.steps_of_window(model, room), room, "trajectories of data.steps")
        try:
            self.module(model).configure_optimizers()
            instantiate(config.trainer, logger=False)
        except ValidationError:
            raise
        except (TypeError, ValueError, ZeroDivisionError, MisconfigurationException) as error:
            raise UserError(f"A stage of training cannot be set up: {error}") from error

    def steps_of_window(self, model: nn.Module, steps: int) -> int:
        """How long the windows are that a model is trained on, from trajectories of `steps` steps."""
        return self.window + getattr(model, "context", 1) - 1 if self.window else steps

    @property
    def gradient_steps(self) -> int:
        """How many gradient steps it takes."""
        return self.epochs * self.steps_per_epoch

    def make_rollouts(self, model: nn.Module, steps: int, **settings: Any) -> PlannerRollouts | None:
        """The callback that fills the replay buffer; none if nothing does.

        Args:
            model: what is trained.
            steps: of the expert trajectories.
            settings: those arguments of `PlannerRollouts` that the configuration does not hold.

        Raises:
            UserError: windows do not fit into its plans.
        """
        if not self.rollouts:
            return None
        rollouts: PlannerRollouts = self.rollouts(replay=self.replay, **settings)
        require_room(self.steps_of_window(model, steps), rollouts.planner.horizon, "plans of planner.horizon")
        return rollouts

    def fit(
        self,
        model: nn.Module,
        trajectories: Trajectories,
        folder: Path,
        config: DictConfig,
        seed: int,
        logger: Logger | None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Trains the model in place and leaves `best.ckpt` and `last.ckpt` in the folder.

        Args:
            model: what is trained.
            trajectories: collected data.
            folder: of the checkpoints; where it holds `last.ckpt`, training goes on from there.
            config: of the run; its `trainer` makes the Trainer.
            seed: determines all that is drawn.
            logger: receives the metrics.
            callbacks: further ones, such as those that fill the replay buffer.
        """
        module: TrainingModule = self.module(model, seed=seed)
        window = self.steps_of_window(model, trajectories.actions.shape[1])
        data = WindowDataModule(
            trajectories, self.replay, self.replay_ratio, self.batch_size, self.steps_per_epoch, seed, window
        )
        callbacks = [
            *callbacks,
            checkpoints(folder, "best", monitor=f"{module.name}/expert_error"),
            # With save_last, Lightning would leave it out after epochs that are not the best so far.
            checkpoints(folder, "last"),
            StoreConfig(config),
            *([TQDMProgressBar(refresh_rate=20)] if sys.stderr.isatty() else []),
        ]
        trainer: Trainer = instantiate(
            config.trainer,
            max_epochs=self.epochs,
            callbacks=callbacks,
            logger=logger or False,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(folder),
            enable_progress_bar=sys.stderr.isatty(),
        )
        last = folder / "last.ckpt"
        try:
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C.
            raise KeyboardInterrupt from error


def checkpoints(folder: Path, name: str, monitor: str | None = None) -> ModelCheckpoint:
    """Keeps one checkpoint of that name, of the epoch with the lowest value of what it monitors; else of the last."""
    return ModelCheckpoint(
        folder, filename=name, monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False
    )


def require_room(window: int, room: int, what: str) -> None:
    """Raises `UserError` if windows of so many steps are longer than what they are cut from."""
    if window > room:
        raise UserError(
            f"A window of {window} steps does not fit into {what}={room}; make that longer, or the window, or what the "
            "model looks back (model.context), shorter."
        )


class AdversarialStage(Stage):
    """Training on what an attack perturbed.

    Args:
        module: makes the LightningModule from the model and the attack.
        attack: finds the perturbations.
        epsilon: multiplies all radii of the attack; of learned ones, those that they start from.
        settings: those of `Stage`.

    Raises:
        UserError: learned radii would start outside their bounds.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, module: Any, attack: ProjectedGradient, epsilon: NonNegative = 1.0, **settings: Any) -> None:
        attack.radii.scale(epsilon)
        super().__init__(partial(module, attack=attack), **settings)
