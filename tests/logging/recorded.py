"""One tiny run of train.py with W&B, read back by the tests of logging and dashboards."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gapclose.runs.command_line import entry
from tests.logging.offline_run import OfflineRun, runs_of
from tests.runs.conftest import TINY, TINY_ONLINE, Answer

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
def recorded(made_once):
    """A tiny online run with the default logger."""
    folder = made_once("recorded", record)
    (run,) = runs_of(folder / "run")
    return Recorded(folder / "run", Answer(0, (folder / "out").read_text(), (folder / "err").read_text()), run)


def record(folder):
    """Makes the run in `run`, its data in `data`, and its output in `out` and `err`."""
    arguments = [*SETTINGS, f"data_dir={folder / 'data'}"]
    with pytest.MonkeyPatch.context() as patch, (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        patch.setattr(sys, "argv", ["train.py", *arguments, f"hydra.run.dir={folder / 'run'}"])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        entry.train()
