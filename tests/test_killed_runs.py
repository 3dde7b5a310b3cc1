"""train.py killed at random moments: the same command completes the run, with the result of one that was not killed."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs.conftest import (  # noqa: F401
    TINY,
    TINY_ONLINE,
    call,
    kill,
    metrics_of,
    rendered,
    start_process,
    unrendered,
    without_times,
)

AFTER_TRAINING = 10
"""Kills between the first file of the evaluation and the end of the run."""
KILLS = 40


def arguments(name: str) -> list[str]:
    return [*TINY, *TINY_ONLINE, "compare=[cem]", f"data_dir={name}/data", f"hydra.run.dir={name}/run"]


def files(folder: str) -> set[str]:
    """The names of all files of a run and its data, but for locks, which a killed process leaves."""
    found = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(".lock")}


def contents(folder: str) -> dict[str, object]:
    """What is in the files, without times."""
    held: dict[str, object] = {}
    for name in files(folder):
        path = Path(folder, name)
        if path.suffix == ".npz":
            held[name] = {key: array.tobytes() for key, array in np.load(path).items()}
        elif path.suffix == ".ckpt":
            weights = torch.load(path, weights_only=True)["state_dict"]
            held[name] = {key: weight.numpy().tobytes() for key, weight in weights.items()}
        elif path.suffix in (".csv", ".safetensors"):
            held[name] = path.read_bytes()
        elif path.name == "metrics.json":
            held[name] = without_times(metrics_of(path.parent)) | {"commit": None}  # It may change meanwhile.
    return held


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_completed_by_the_same_command(call, rendered):  # noqa: F811
    def seconds_until(process, path: Path) -> float:
        began = time.monotonic()
        while process.is_alive() and not path.exists():
            time.sleep(0.002)
        return time.monotonic() - began

    for name in ("first", "whole"):  # The first one takes longer than all others.
        process = start_process(*arguments(name))
        to_evaluation = seconds_until(process, Path(name, "run/tasks.csv"))
        began = time.monotonic()
        process.join()
        to_end = time.monotonic() - began
        assert process.exitcode == 0
    expected, names = contents("whole"), files("whole")
    draw, killed, attempts = random.Random(0), 0, 0
    while killed < KILLS:
        attempts += 1
        assert attempts < 3 * KILLS
        name = f"killed{attempts}"
        process = start_process(*arguments(name))
        if killed < AFTER_TRAINING:
            seconds_until(process, Path(name, "run/tasks.csv"))
            time.sleep(draw.uniform(0, to_end))
        else:
            time.sleep(draw.uniform(0, to_evaluation + to_end))
        if not process.is_alive():
            continue
        kill(process)
        killed += 1
        answer = call("train", *arguments(name))
        assert answer.code == 0, answer.err
        assert files(name) == names, name
        assert contents(name) == expected, name
    print(
        f"{KILLS} of {attempts} runs were killed, in {to_evaluation:.1f} s of training and {to_end:.1f} s of evaluation"
    )
