"""Runs in several processes: killed ones end the run in one sentence, and the same command goes on with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gapclose.files import PARTIAL
from tests.runs.conftest import TINY, TINY_ONLINE, is_one_sentence, metrics_of, without_times

ROOT = Path(__file__).parents[3]
DDP = [*TINY, *TINY_ONLINE, "finetune.epochs=6", "trainer=ddp", "trainer.accelerator=cpu", "hydra.run.dir=run"]


def children_of(pid):
    """The processes that a process has started, and those that they have started."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [process for child in map(int, own) for process in (child, *children_of(child))]


def is_peer(pid):
    """Whether this is a process that trains together with the first one."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def has_begun(pid):
    """Whether a process imports what it needs."""
    try:
        return b"hydra" in Path(f"/proc/{pid}/maps").read_bytes() or b"yaml" in Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return False


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def start(folder, *arguments):
    command = [sys.executable, ROOT / "train.py", *DDP, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, **streams, env={**os.environ, "PYTHONPATH": str(ROOT)})


def peers(process):
    return [pid for pid in children_of(process.pid) if is_peer(pid)]


def log_has(folder, text):
    path = folder / "run/train.log"
    return path.exists() and text in path.read_text()


MOMENTS = {
    "at the start": lambda folder, process: any(map(has_begun, peers(process))),
    "in training": lambda folder, process: log_has(folder, "Epoch 3 of 6"),
    "in evaluation": lambda folder, process: log_has(folder, "Evaluating baseline"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The metrics of a run that nobody kills, and its folder of data."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    process.communicate(timeout=300)
    assert process.returncode == 0
    return without_times(metrics_of(folder / "run"))


def goes_on(folder, whole):
    """Whether the same command goes on with the run in the folder to the result of a run that nobody killed."""
    process = start(folder)
    process.communicate(timeout=300)
    left = [path for path in (folder / "run").rglob(".*") if PARTIAL.fullmatch(path.name)]
    return process.returncode == 0 and without_times(metrics_of(folder / "run")) == whole and not left


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_first_one_of_a_run(tmp_path, whole, moment, sent):
    process = start(tmp_path)
    wait_for(lambda: MOMENTS[moment](tmp_path, process))
    others = children_of(process.pid)
    process.send_signal(sent)
    process.wait(30)
    wait_for(lambda: not any(map(is_alive, others)), 30)
    assert "Traceback" not in process.communicate()[1]
    assert goes_on(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["at the start", "in training"])
def test_a_lost_process_ends_the_run_in_one_sentence(tmp_path, whole, moment):
    process = start(tmp_path)
    wait_for(lambda: MOMENTS[moment](tmp_path, process))
    others = children_of(process.pid)
    os.kill(peers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    wait_for(lambda: not any(map(is_alive, others)), 30)
    last = err.splitlines(keepends=True)[-1]
    assert is_one_sentence(last)
    assert "Process 2 of 2 of this run was ended by SIGKILL" in last
    assert "Traceback" not in err
    assert process.returncode == 1
    assert goes_on(tmp_path, whole)


@pytest.mark.slow
def test_a_killed_multirun_with_more_planners_goes_on_to_all_results(tmp_path):
    arguments = ["seed=0,1", "compare=['cem planner.iterations=2']", 'hydra.sweep.dir="b=1, x"']
    arguments += ["hydra.sweep.subdir=${seed}", "-m"]
    process = start(tmp_path, *arguments)
    wait_for(lambda: (tmp_path / "b=1, x/0/checkpoints/last.ckpt").exists())
    process.kill()
    process.communicate(timeout=30)
    process = start(tmp_path, *arguments)
    process.communicate(timeout=300)
    assert process.returncode == 0
    made = sorted(str(path.relative_to(tmp_path / "b=1, x").parent) for path in tmp_path.glob("b=1, x/**/metrics.json"))
    assert [name.partition("/")[0] for name in made] == ["0", "0", "1", "1"]
