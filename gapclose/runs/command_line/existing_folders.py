"""What a command checks in a folder that exists already, before Hydra writes a log and settings into it."""

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from gapclose.errors import UserError, fail
from gapclose.explanation import explain
from gapclose.runs.storage.run_folder import require_own_files


class CheckExistingFolder(Callback):
    """Refuses links that lead out of the folder, and lets the command of a finished run say so in a read-only one."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.run.dir)
        check_files(folder, "config.yaml", depth=3)
        if (folder / "metrics.json").exists() and not writable(folder):
            with read_write(config), open_dict(config):
                config.hydra.output_subdir = None
                for logger in (config.hydra.job_logging.root, *config.hydra.job_logging.get("loggers", {}).values()):
                    logger.handlers = [name for name in logger.get("handlers", []) if name != "file"]
                config.hydra.job_logging.handlers.pop("file", None)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        check_files(Path(config.hydra.sweep.dir), "multirun.yaml", depth=5)


def check_files(folder: Path, mark: str, depth: int) -> None:
    """Exits with a sentence if a command has written in the folder before and should not write there again.

    Hydra turns exceptions of its callbacks into warnings, but not the end of the process.

    Args:
        folder: the folder.
        mark: name of a file that such a folder has; others may be anything, such as the current folder.
        depth: number of levels of folders that the command writes into.
    """
    try:
        if os.path.lexists(folder / mark):
            require_own_files(folder, depth)
    except (UserError, OSError) as error:
        fail(explain(error))


def writable(folder: Path) -> bool:
    """Whether files can be made and changed in a folder and its log."""
    log = folder / "train.log"
    return os.access(folder, os.W_OK, effective_ids=True) and (
        not log.exists() or os.access(log, os.W_OK, effective_ids=True)
    )
