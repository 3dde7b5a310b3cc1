"""Starts the logger of a run, sends it the results and ends it, for any kind of logger."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from gapclose.evaluation.tables import COLUMNS
from gapclose.logging.metrics import flatten
from gapclose.logging.results import Recorder, Results

log = logging.getLogger(__name__)


@contextmanager
def recording(config: DictConfig, folder: Path) -> Iterator[Logger | None]:
    """Provides the logger of a run and tells it at the end whether the run failed; none with `logger=none`."""
    logger: Logger | None = instantiate(config.logger, save_dir=str(folder))
    if logger:
        logger.log_hyperparams(OmegaConf.to_container(config))
    try:
        yield logger
    except BaseException as error:
        end(logger, 130 if isinstance(error, KeyboardInterrupt) else 1)
        raise
    end(logger, 0)


def end(logger: Logger | None, exit_code: int) -> None:
    """Ends the record of a run with an exit code, if the logger is a `Recorder`."""
    if isinstance(logger, Recorder):
        with ignoring_errors():
            logger.finish(exit_code)


def log_results(logger: Logger | None, results: Results) -> None:
    """Sends the results to the logger, with tables and pictures if it can show them.

    The results are already on the disk, so nothing is lost if the logger fails, for example without a network.
    """
    if logger is None:
        return
    with ignoring_errors():
        if isinstance(logger, Recorder):
            logger.log_results(results)
            return
        logger.log_metrics(flatten(results.metrics))
        if isinstance(logger, TensorBoardLogger):
            lines = [COLUMNS, ["---"] * len(COLUMNS), *results.rows]
            logger.experiment.add_text("results", "\n".join("|".join(str(cell) for cell in line) for line in lines))
            for picture in results.pictures:
                pixels = np.asarray(Image.open(picture).convert("RGB"))
                logger.experiment.add_image(picture.stem, pixels, dataformats="HWC")
        logger.finalize("success")


@contextmanager
def ignoring_errors() -> Iterator[None]:
    """Reports an error of the logger as a warning, and lets the run continue."""
    try:
        yield
    except Exception as error:
        log.warning(
            "The logger failed (%s: %s); the results in the run's folder are complete.", type(error).__name__, error
        )
