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
from gapclose.explanation import one_line
from gapclose.logging.artifacts import log_files, staging_in
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

PROJECT = "gapclose"
"""The project of runs for which the user names none."""


class WandbRun(WandbLogger):
    """The W&B run of a run of train.py, without account or prompt unless a key is configured. Resuming keeps its id.

    An epoch is one row of the history, sent when its checkpoint is written: an interrupted epoch is repeated, so
    nothing of it is sent before. In a distributed run only the first process logs.

    Args:
        save_dir: the folder of the run; W&B's files go into its subfolder `wandb`.
        project: project name; by default as WANDB_PROJECT says, otherwise `PROJECT`.
        offline: whether to stay offline; by default as WANDB_MODE says, otherwise offline if no API key is configured.
    """

    def __init__(self, save_dir: str, project: str | None = None, offline: bool | None = None) -> None:
        # W&B writes in another process, whose working folder may differ.
        if offline not in (None, True, False):
            raise UserError(f"logger.offline is {offline!r:.60}; give true, false or null.")
        project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        super().__init__(save_dir=str(Path(save_dir).absolute()), project=project)
        self.stay_offline = offline
        self.row: dict[str, float] = {}
        """The metrics of the current epoch so far."""

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Starts or resumes the W&B run with this configuration."""
        config = OmegaConf.create(params)
        identity = Identity.of(Path(self.save_dir), config)
        require_home(Path(self.save_dir) / "wandb" / "home")
        self._experiment = start(self.save_dir, self.name, self.stay_offline, identity)
        self.experiment.config.update(OmegaConf.to_container(config), allow_val_change=True)
        for group, axis in AXES.items():
            self.experiment.define_metric(axis, hidden=True)
            self.experiment.define_metric(f"{group}/*", step_metric=axis)
        for name, best in GOALS.items():
            self.experiment.define_metric(name, step_metric=AXES[name.partition("/")[0]], summary=f"last,{best}")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Collects the metrics that Lightning logs and sends them at the end of each epoch; `step` is not used."""
        named = {name: value for name, value in metrics.items() if name != "epoch"}
        self.row |= epoch_row(named, int(metrics["epoch"]))
        if any(name.endswith(f"/{LAST_OF_EPOCH}") for name in named):
            self.experiment.log(self.row)
            self.row = {}

    def log_results(self, results: Results) -> None:
        """Logs the results as summary, tables, curves, pictures and videos, and the files of the run as artifacts."""
        if self.experiment.disabled:  # By WANDB_MODE: it records nothing and accepts no artifacts.
            return
        for row in (*held_out_rows(results.metrics, results.epochs), *horizon_rows(results.executions)):
            self.experiment.log(row)
        # After the curves, whose last values would overwrite some results; before the calls that may fail.
        self.experiment.summary.update(flatten(results.metrics))
        with staging_in(Path(self.save_dir) / "wandb"):
            with TemporaryDirectory() as folder:
                self.experiment.log(tables(results) | pictures(results) | videos(results, Path(folder)))
            log_files(self.experiment, results.files, results.metrics)

    def finish(self, exit_code: int) -> None:
        """Ends the W&B run; another process or a later resumption may continue it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None


def start(save_dir: str, project: str, offline: bool | None, identity: Identity) -> wandb.Run:
    """Starts or resumes a W&B run.

    Raises:
        UserError: it should be online, and the server refuses it, or the library cannot start.
    """
    settings = wandb.Settings(
        mode=mode(offline),
        silent=True,
        console="off",
        x_transaction_log_flush_interval=1.0,  # A killed run loses at most 1 s of its log instead of 15 s.
    )
    arguments = {"project": project, "dir": save_dir, "resume": "allow", "reinit": "create_new", **identity._asdict()}
    try:
        return wandb.init(**arguments, settings=settings)
    except wandb.Error as error:
        raise UserError(
            f"W&B refused the run ({error}); correct this, or stay offline by logger.offline=true."
        ) from error
    except Exception as error:  # Its own process fails in many ways, on machines that lack what it expects.
        raise UserError(
            f"W&B cannot start ({type(error).__name__}: {one_line(str(error))}); correct this, or do without it by "
            "logger=none."
        ) from error


def require_home(substitute: Path) -> None:
    """Gives this process a home folder if it has none that can be used, as in services; W&B cannot do without one."""
    try:
        usable = os.access(Path.home(), os.W_OK | os.X_OK)
    except RuntimeError:
        usable = False
    if not usable:
        substitute.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(substitute)


def mode(offline: bool | None) -> str:
    """Chooses W&B's mode: by `offline` if given, otherwise by the environment, otherwise online if there is a key."""
    if offline is None and os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "offline" if offline or (offline is None and not signed_in()) else "online"


def signed_in() -> bool:
    """Whether a valid API key is configured, without a prompt; warns about an invalid key or unreachable server."""
    try:
        return wandb.login(prompt=False)
    except Exception as error:  # The library and its transport raise many kinds of errors.
        log.warning("W&B cannot be used online (%s); the run stays offline, and wandb sync uploads it later.", error)
        return False


def tables(results: Results) -> dict[str, wandb.Table]:
    """The tables of results and of the outcomes of tasks."""
    tasks = results.outcomes.astype(object)
    rows = tasks.where(tasks.notna(), None).values.tolist()
    return {
        "results": wandb.Table(RESULT_COLUMNS, result_rows(results.gaps)),
        "tasks": wandb.Table(list(tasks.columns), rows),
    }


def pictures(results: Results) -> dict[str, wandb.Image]:
    """The pictures of the run."""
    return {f"pictures/{picture.stem}": wandb.Image(str(picture)) for picture in results.pictures}


def videos(results: Results, folder: Path) -> dict[str, wandb.Video]:
    """Animates the executed open-loop plans of each learned model, in files in the folder."""
    paths = {
        model: animate(ways["open_loop"], results.simulator, folder / f"{model}.gif")
        for model, ways in results.executions.items()
        if model != "oracle"
    }
    return {f"plans/{model}": wandb.Video(str(path), format="gif") for model, path in paths.items()}
