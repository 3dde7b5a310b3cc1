"""One tiny run of train.py with W&B, read back by all tests."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gapclose.runs import entry
from tests.logging.offline_run import OfflineRun, runs_of
from tests.runs.conftest import TINY, TINY_ONLINE, Answer, call

__all__ = ["call"]

SETTINGS = [setting for setting in TINY if setting != "logger=none"] + TINY_ONLINE


class Recorded(NamedTuple):
    """A finished run.

    Attributes:
        folder: the run's folder; the data are beside it, in `data`.
        answer: what the command printed.
        run: what W&B has of it.
    """

    folder: Path
    answer: Answer
    run: OfflineRun


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A tiny online run with the default logger."""
    folder = tmp_path_factory.mktemp("recorded")
    arguments = [*SETTINGS, "evaluation.each_epoch=false", f"data_dir={folder / 'data'}"]
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as streams:
        out, err = folder / "out", folder / "err"
        streams.setattr(sys, "stdout", out.open("w"))
        streams.setattr(sys, "stderr", err.open("w"))
        patch.setattr(sys, "argv", ["train.py", *arguments, f"hydra.run.dir={folder / 'run'}"])
        entry.train()
        sys.stdout.close()
        sys.stderr.close()
    (run,) = runs_of(folder / "run")
    return Recorded(folder / "run", Answer(0, out.read_text(), err.read_text()), run)
