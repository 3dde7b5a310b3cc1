"""Lets the command of a finished run say so where its folder is read-only: Hydra writes a log and settings first."""

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write


class LeaveFinishedRun(Callback):
    """Keeps Hydra from writing into the folder of a finished run that cannot be written to."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.run.dir)
        if (folder / "metrics.json").exists() and not writable(folder):
            with read_write(config), open_dict(config):
                config.hydra.output_subdir = None
                for logger in (config.hydra.job_logging.root, *config.hydra.job_logging.get("loggers", {}).values()):
                    logger.handlers = [name for name in logger.get("handlers", []) if name != "file"]
                config.hydra.job_logging.handlers.pop("file", None)


def writable(folder: Path) -> bool:
    """Whether files can be made and changed in a folder and its log."""
    log = folder / "train.log"
    return os.access(folder, os.W_OK, effective_ids=True) and (
        not log.exists() or os.access(log, os.W_OK, effective_ids=True)
    )
