"""A stage of training: that of the baseline, of a finetuning or of a policy."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PositiveInt, ValidationError, validate_call
from torch import nn

from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.explanation import explain, one_line
from gapclose.files import is_there
from gapclose.processes import from_first, is_distributed
from gapclose.setting_types import Fraction, NonNegative
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.checkpoint import AtomicCheckpointIO, StoreConfig, read_checkpoint
from gapclose.training.planner_rollouts import PlannerRollouts
from gapclose.training.resumable import require_counts, require_states
from gapclose.training.trainer import make_trainer
from gapclose.training.training_module import TrainingModule

TRAINER_SETTINGS = (
    "_target_",
    "accelerator",
    "accumulate_grad_batches",
    "benchmark",
    "detect_anomaly",
    "deterministic",
    "devices",
    "enable_model_summary",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "log_every_n_steps",
    "num_nodes",
    "num_sanity_val_steps",
    "precision",
    "profiler",
    "strategy",
    "sync_batchnorm",
)
"""Settings of Lightning's Trainer that stages obey."""
LARGEST = {"gradient steps": 10**7, "windows per epoch": 10**8, "transitions per gradient step": 10**7}
"""How much a stage may compute, as the settings of a policy may come from a checkpoint of a stranger."""
PRECISIONS = (None, 32, "32", "32-true", "16-mixed", "bf16-mixed")
"""Values of `trainer.precision` that stages obey."""


class Stage:
    """Trains a model for a number of epochs, and resumes where an interrupted run of the same stage stopped.

    Args:
        module: makes the LightningModule from the model.
        epochs: number of epochs.
        steps_per_epoch: gradient steps per epoch.
        batch_size: windows per gradient step.
        replay: replay buffer that is mixed with the collected data.
        replay_ratio: share of replay data in each batch once the buffer is not empty.
        rollouts: makes the callback that fills the replay buffer; `None` leaves it empty.
        window: steps of each rollout in training; windows are longer by the model's context minus 1. `None` trains on
            whole trajectories.
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
        # In a sweep over finetune, `++finetune.rollouts.plans_per_epoch=50` also reaches stages without rollouts, as a
        # plain mapping. It is ignored there.
        self.rollouts = rollouts if callable(rollouts) else None
        self.replay_ratio, self.window = replay_ratio, window

    def check(self, model: nn.Module, config: DictConfig, name: str) -> None:
        """Makes optimizer, schedule and Trainer once, so that invalid settings are found before any work is done.

        Args:
            model: the model to train.
            config: configuration of the run.
            name: config key of the stage, for error messages.

        Raises:
            UserError: they cannot be made, windows do not fit into the trajectories, the stage is too large, or a
                setting of the Trainer is not one that stages obey.
            ValidationError: a setting of the module has the wrong type or is out of range.
        """
        check_trainer(config.trainer)
        room = config.data.steps
        window = self.window_length(model, room)
        require_window_fits(window, room, "data.steps", name)
        steps, batch = self.steps_per_epoch, self.batch_size
        require_at_most(self.gradient_steps, "gradient steps", name, ("epochs", "steps_per_epoch"))
        require_at_most(steps * batch, "windows per epoch", name, ("steps_per_epoch", "batch_size"))
        require_at_most(window * batch, "transitions per gradient step", name, ("window", "batch_size"))
        try:
            module = self.module(model)
            if not isinstance(module, TrainingModule):
                raise TypeError(f"{name}.module makes a {type(module).__name__} instead of a TrainingModule.")
            module.configure_optimizers()
            if is_distributed(config):  # Also depends on what has started the processes.
                make_trainer(config, logger=False)
            else:
                require_trainer(json.dumps(OmegaConf.to_container(config.trainer, resolve=True)))
        except ValidationError:
            raise
        except (TypeError, ValueError, ZeroDivisionError, MisconfigurationException) as error:
            raise UserError(f"A stage of training cannot be set up: {error}") from error

    def window_length(self, model: nn.Module, steps: int) -> int:
        """Number of steps of the model's training windows, for trajectories of `steps` steps."""
        return self.window + getattr(model, "context", 1) - 1 if self.window else steps

    @property
    def gradient_steps(self) -> int:
        """Total number of gradient steps."""
        return self.epochs * self.steps_per_epoch

    def make_rollouts(self, model: nn.Module, steps: int, **settings: Any) -> PlannerRollouts | None:
        """Makes the callback that fills the replay buffer, or returns `None` if the stage has no rollouts.

        Args:
            model: the model to train.
            steps: number of steps of the collected trajectories.
            settings: arguments of `PlannerRollouts` that are not in the configuration.

        Raises:
            UserError: windows do not fit into the plans.
        """
        if not self.rollouts:
            return None
        rollouts: PlannerRollouts = self.rollouts(replay=self.replay, **settings)
        require_window_fits(self.window_length(model, steps), rollouts.planner.horizon, "planner.horizon", "finetune")
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
        """Trains the model in place, and writes `best.ckpt` and `last.ckpt` into the folder.

        Args:
            model: the model to train.
            trajectories: collected data.
            folder: folder of the checkpoints; if it holds `last.ckpt`, training resumes from it.
            config: configuration of the run; its `trainer` makes the Trainer.
            seed: seed of all randomness of the stage.
            logger: receives the metrics.
            callbacks: further callbacks, such as the one that fills the replay buffer.

        Raises:
            UserError: `last.ckpt` is damaged.
        """
        module: TrainingModule = self.module(model, seed=seed)
        window = self.window_length(model, trajectories.actions.shape[1])
        data = WindowDataModule(
            trajectories, self.replay, self.replay_ratio, self.batch_size, self.steps_per_epoch, seed, window
        )
        callbacks = [
            *callbacks,
            checkpoints(folder, "best", monitor=f"{module.name}/expert_error"),
            # A callback of its own: with save_last, Lightning writes it only after epochs that are the best so far.
            checkpoints(folder, "last"),
            StoreConfig(config),
            *([TQDMProgressBar(refresh_rate=20)] if sys.stderr.isatty() else []),
        ]
        trainer = make_trainer(
            config,
            max_epochs=self.epochs,
            callbacks=callbacks,
            logger=logger or False,
            plugins=(AtomicCheckpointIO(),),
            default_root_dir=str(folder),
            enable_progress_bar=sys.stderr.isatty(),
        )
        last = folder / "last.ckpt"
        with resuming_from(last, module) as checkpoint:
            try:
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
            except SystemExit as error:  # Lightning turns Ctrl-C into this.
                raise KeyboardInterrupt from error


@contextmanager
def resuming_from(last: Path, module: TrainingModule) -> Iterator[str | None]:
    """Yields the checkpoint of an interrupted stage, if there is one, after its contents have been checked.

    Raises:
        UserError: the checkpoint is damaged, or its state does not fit the stage.
    """
    if not from_first(lambda: is_there(last)):
        yield None
        return
    advice = f"Delete {last}, and the same command trains this stage from its beginning."
    try:
        checkpoint = read_checkpoint(last)
    except UserError as error:
        raise UserError(f"{error} {advice}") from error
    try:
        require_counts(checkpoint)
        made = module.configure_optimizers()
        require_states(checkpoint, made["optimizer"], made["lr_scheduler"]["scheduler"])
        yield str(last)
    except Exception as error:
        if module.has_started or (explain(error) is not None and not isinstance(error, UserError)):
            raise
        reason = f"{type(error).__name__}: {one_line(str(error))[:120]}"
        raise UserError(f"{last} holds no state that training can resume from ({reason}). {advice}") from error


def check_trainer(settings: DictConfig) -> None:
    """Raises `UserError` for settings of the Trainer that a stage would overwrite, ignore or fail with."""
    for name, value in settings.items():
        if name not in TRAINER_SETTINGS and value is not None:
            raise UserError(
                f"trainer.{name} is {value}, which stages of training do not obey: each has its own numbers of epochs "
                "and steps, callbacks and checkpoints; leave it out, and give settings of a stage such as "
                "finetune.epochs or baseline.steps_per_epoch."
            )
    if settings.get("precision") not in PRECISIONS:
        raise UserError(
            f"trainer.precision is {settings.precision}; give 32-true, 16-mixed or bf16-mixed, as models are stored "
            "and evaluated in single precision."
        )


@cache
def require_trainer(settings: str) -> None:
    """Makes a Trainer from settings in JSON, to find invalid ones: only once, as it takes as long as some epochs."""
    make_trainer(OmegaConf.create({"trainer": json.loads(settings)}), logger=False)


def checkpoints(folder: Path, name: str, monitor: str | None = None) -> ModelCheckpoint:
    """Keeps one checkpoint with this name: of the epoch with the lowest monitored value, or of the last epoch."""
    return ModelCheckpoint(
        folder, filename=name, monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False
    )


def require_at_most(number: int, what: str, stage: str, settings: tuple[str, str]) -> None:
    """Raises `UserError` if a stage of training has more than the `LARGEST` number of what these settings determine."""
    if number > LARGEST[what]:
        names = " or ".join(f"{stage}.{setting}" for setting in settings)
        raise UserError(f"{stage} has {number:,} {what}, but may have at most {LARGEST[what]:,}; reduce {names}.")


def require_window_fits(window: int, room: int, setting: str, stage: str) -> None:
    """Raises `UserError` if windows of this many steps are longer than trajectories of `room` steps."""
    if window > room:
        raise UserError(
            f"A training window of {stage} has {window} steps, but {setting} is {room}; increase {setting}, or reduce "
            f"{stage}.window or model.context."
        )


class AdversarialStage(Stage):
    """A stage of adversarial training.

    Args:
        module: makes the LightningModule from the model and the attack.
        attack: computes the perturbations.
        epsilon: factor of all radii of the attack; for learned radii, of the initial ones.
        settings: settings of `Stage`.

    Raises:
        UserError: the initial learned radii are outside their bounds.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, module: Any, attack: ProjectedGradient, epsilon: NonNegative = 1.0, **settings: Any) -> None:
        attack.radii.scale(epsilon)
        super().__init__(partial(module, attack=attack), **settings)
