"""A run under the eyes of its logger, whichever it is."""

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
    """The logger of a run, which is told how the run ends; none with `logger=none`."""
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
    """Tells a logger that the run has ended, and how."""
    if isinstance(logger, Recorder):
        with forgiving():
            logger.finish(exit_code)


def log_results(logger: Logger | None, results: Results) -> None:
    """Sends the results to the logger, with tables and pictures if it can show them.

    They are on the disk already, so a logger that fails, for want of a network or of space, loses nothing.
    """
    if logger is None:
        return
    with forgiving():
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
def forgiving() -> Iterator[None]:
    """Within it a logger may fail: that is said, and the run goes on."""
    try:
        yield
    except Exception as error:
        log.warning(
            "The logger failed (%s: %s); the results in the run's folder are complete.", type(error).__name__, error
        )
