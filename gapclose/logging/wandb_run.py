"""Weights & Biases: one run for each run of train.py, offline unless a key is configured."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.evaluation.plots import animate
from gapclose.logging.artifacts import log_files, staging
from gapclose.logging.identity import Identity
from gapclose.logging.metrics import (
    AXES,
    GOALS,
    LAST_OF_EPOCH,
    RESULT_COLUMNS,
    epoch_row,
    flatten,
    held_out_rows,
    horizon_rows,
    result_rows,
)
from gapclose.logging.results import Results

log = logging.getLogger(__name__)


class WandbRun(WandbLogger):
    """A W&B run of its own, without account or prompt unless a key is configured; resumed, it goes on under its id.

    An epoch is one row of the history, sent when its checkpoint is written: an epoch that was interrupted is run again,
    and so nothing is sent of it before. All but the first process of a distributed run log nothing.

    Args:
        save_dir: the folder of the run; W&B's files go into its subfolder `wandb`.
        project: project name.
        offline: whether to stay offline; by default, what WANDB_MODE says, or else whether no API key is configured.
    """

    def __init__(self, save_dir: str, project: str = "gapclose", offline: bool | None = None) -> None:
        # W&B writes in a process of its own, which may have been started in another folder.
        super().__init__(save_dir=str(Path(save_dir).absolute()), project=project)
        self.stay_offline = offline
        self.row: dict[str, float] = {}
        """What the epoch that is under way has logged so far."""

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Starts the W&B run, or goes on with it, with this configuration."""
        config = OmegaConf.create(params)
        identity = Identity.of(Path(self.save_dir), config)
        self._experiment = start(self.save_dir, self.name, self.stay_offline, identity)
        self.experiment.config.update(OmegaConf.to_container(config), allow_val_change=True)
        for group, axis in AXES.items():
            self.experiment.define_metric(axis, hidden=True)
            self.experiment.define_metric(f"{group}/*", step_metric=axis)
        for name, best in GOALS.items():
            self.experiment.define_metric(name, step_metric=AXES[name.partition("/")[0]], summary=f"last,{best}")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes note of what Lightning logs, and sends it at the end of each epoch; `step` is no axis of ours."""
        named = {name: value for name, value in metrics.items() if name != "epoch"}
        self.row |= epoch_row(named, int(metrics["epoch"]))
        if any(name.endswith(f"/{LAST_OF_EPOCH}") for name in named):
            self.experiment.log(self.row)
            self.row = {}

    def log_results(self, results: Results) -> None:
        """The results as summary, tables, curves, pictures and videos, and the files that lead to them."""
        if self.experiment.disabled:  # By WANDB_MODE: it records nothing, and has no place for artifacts.
            return
        for row in (*held_out_rows(results.metrics, results.epochs), *horizon_rows(results.executions)):
            self.experiment.log(row)
        # After the curves, which have left their last values under the names of some results; before what may fail.
        self.experiment.summary.update(flatten(results.metrics))
        with staging(Path(self.save_dir) / "wandb"):
            with TemporaryDirectory() as folder:
                self.experiment.log(tables(results) | pictures(results) | videos(results, Path(folder)))
            log_files(self.experiment, results.files, results.metrics)

    def finish(self, exit_code: int) -> None:
        """Ends the W&B run; another process or a later resumption may go on with it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None


def start(save_dir: str, project: str, offline: bool | None, identity: Identity) -> wandb.Run:
    """A running W&B run.

    Raises:
        UserError: it is to be online, and the server does not take it.
    """
    settings = wandb.Settings(
        mode=mode(offline),
        silent=True,
        console="off",
        x_transaction_log_flush_interval=1.0,  # What a killed run has logged is on the disk by then, not after 15 s.
    )
    arguments = {"project": project, "dir": save_dir, "resume": "allow", "reinit": "create_new", **identity._asdict()}
    try:
        return wandb.init(**arguments, settings=settings)
    except wandb.Error as error:
        raise UserError(
            f"W&B does not take the run ({error}); mend it, or stay offline by logger.offline=true."
        ) from error


def mode(offline: bool | None) -> str:
    """W&B's mode: offline or not where that is set, else that of the environment, else online if there is a key."""
    if offline is None and os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "offline" if offline or (offline is None and not signed_in()) else "online"


def signed_in() -> bool:
    """Whether a valid API key is configured, without asking for one; if it is not, or nobody answers, that is said."""
    try:
        return wandb.login(prompt=False)
    except wandb.Error as error:
        log.warning("W&B cannot be used online (%s); the run stays offline, and wandb sync uploads it later.", error)
        return False


def tables(results: Results) -> dict[str, wandb.Table]:
    """The results, and what became of each task."""
    tasks = results.outcomes.astype(object)
    rows = tasks.where(tasks.notna(), None).values.tolist()
    return {
        "results": wandb.Table(RESULT_COLUMNS, result_rows(results.gaps)),
        "tasks": wandb.Table(list(tasks.columns), rows),
    }


def pictures(results: Results) -> dict[str, wandb.Image]:
    """The pictures that the run has drawn."""
    return {f"pictures/{picture.stem}": wandb.Image(str(picture)) for picture in results.pictures}


def videos(results: Results, folder: Path) -> dict[str, wandb.Video]:
    """The executed open-loop plans of each learned model; the files go into the folder first."""
    paths = {
        model: animate(ways["open_loop"], results.simulator, folder / f"{model}.gif")
        for model, ways in results.executions.items()
        if model != "oracle"
    }
    return {f"plans/{model}": wandb.Video(str(path), format="gif") for model, path in paths.items()}
