"""Calls the entry points in this process with tiny settings."""

import json
import os
import shutil
import signal
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from gapclose.runs.command_line import entry

TINY = [
    "logger=none",
    "data.num_trajectories=20",
    "data.steps=8",
    "model.hidden_dim=16",
    "baseline.epochs=2",
    "baseline.steps_per_epoch=10",
    "planner.horizon=6",
    "planner.num_samples=8",
    "planner.num_elites=2",
    "planner.num_starts=2",
    "planner.iterations=2",
    "evaluation.num_tasks=4",
]
TINY_FINETUNE = ["finetune.epochs=3", "finetune.steps_per_epoch=10"]
TINY_ONLINE = ["finetune=online", *TINY_FINETUNE, "finetune.rollouts.plans_per_epoch=4"]
TINY_PLAN = [setting for setting in TINY if not setting.startswith(("logger", "baseline", "evaluation", "model"))]
TINY_POLICY = ["init=policy", "policy.network.hidden_dim=16"]
TINY_POLICY += ["policy.training.epochs=3", "policy.training.steps_per_epoch=5"]


def metrics_of(folder):
    """The content of a run's metrics.json."""
    return json.loads((Path(folder) / "metrics.json").read_text())


def without_times(content):
    """Metrics without times, which differ between equal runs."""
    if isinstance(content, dict):
        return {name: without_times(value) for name, value in content.items() if not name.endswith("_seconds")}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def finetuned_weights(folder):
    """The weights after the last epoch of finetuning."""
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def is_one_sentence(text):
    return text.startswith("Error: ") and text.count("\n") == 1 and "Traceback" not in text and len(text) < 400


class Answer(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def rendered():
    """Requested by tests of pictures or the report, which take half of the time of a tiny run."""


@pytest.fixture(autouse=True)
def unrendered(monkeypatch, request):
    """Pictures are drawn, but not rendered: their files have one pixel. Runs write no report."""
    if "rendered" not in request.fixturenames:
        pixel = Image.new("RGB", (1, 1))
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: pixel.save(path, "PNG"))
        monkeypatch.setattr("gapclose.runs.jobs.final_evaluation.save_report", lambda *_: None)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Calls an entry point with command-line arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            getattr(entry, name)()
        except SystemExit as stop:
            code = stop.code or 0
        return Answer(code, *capsys.readouterr())

    return run


def start_process(*arguments):
    """Starts train.py as a copy of this process, which has imported everything, in a process group of its own."""

    def run():
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        sys.argv = ["train.py", *map(str, arguments)]
        entry.train()

    process = get_context("fork").Process(target=run)
    process.start()
    return process


def kill(process):
    """Kills a process and those that it has started."""
    assert process.is_alive()
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


@pytest.fixture(scope="session")
def trained(made_once, tmp_path_factory):
    """A folder with a tiny finished online run in `run`, and its data in `data`: a copy for this process."""
    folder = tmp_path_factory.mktemp("copies") / "trained"
    return shutil.copytree(made_once("trained", train_online), folder, ignore=shutil.ignore_patterns("*.lock"))


def train_online(folder):
    """Makes the run."""
    with pytest.MonkeyPatch.context() as patch:
        arguments = [*TINY, *TINY_ONLINE, f"data_dir={folder / 'data'}", f"hydra.run.dir={folder / 'run'}"]
        patch.setattr(sys, "argv", ["train.py", *arguments])
        entry.train()
