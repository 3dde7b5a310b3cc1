"""Loggers: what is not already Lightning's."""

import logging
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from gapclose.evaluation.report import COLUMNS

log = logging.getLogger(__name__)


def wandb_logger(save_dir: str, project: str, offline: bool | None) -> WandbLogger | None:
    """A Weights & Biases run of its own, without account or prompt unless a key is configured.

    Args:
        save_dir: the run's files go into its subfolder `wandb`.
        project: project name.
        offline: whether to stay offline; by default, whether no API key is configured.

    Returns:
        The logger; none in all but the first process of a distributed run.
    """
    if rank_zero_only.rank != 0:
        return None
    if offline is None:
        offline = os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False)
    settings = wandb.Settings(mode="offline" if offline else "online", silent=True, console="off")
    identity = Path(save_dir) / "wandb_run_id"  # A resumed run goes on with its W&B run.
    if not identity.exists():
        identity.write_text(secrets.token_hex(4))
    run = wandb.init(
        project=project,
        dir=save_dir,
        id=identity.read_text(),
        resume="allow",
        settings=settings,
        reinit="finish_previous",
    )
    return WandbLogger(experiment=run)


def log_results(logger: Logger | None, metrics: dict[str, Any], rows: list[list[str]], pictures: list[Path]) -> None:
    """Sends the final metrics to the logger, and the table and the pictures if it can show them."""
    if logger is None:
        return
    logger.log_metrics(flatten(metrics))
    if isinstance(logger, WandbLogger):
        logger.log_table("results", columns=COLUMNS, data=rows)
        for picture in pictures:
            logger.log_image(picture.stem, [str(picture)])
    elif isinstance(logger, TensorBoardLogger):
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        logger.experiment.add_text("results", "\n".join("|".join(str(cell) for cell in line) for line in lines))
        for picture in pictures:
            pixels = np.asarray(Image.open(picture).convert("RGB"))
            logger.experiment.add_image(picture.stem, pixels, dataformats="HWC")
    logger.finalize("success")
    if isinstance(logger, WandbLogger):
        wandb.finish()


def flatten(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested metrics, their names joined by slashes."""
    flat = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat
