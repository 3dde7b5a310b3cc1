import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from gapclose.engines.pool import MIN_TRANSITIONS, Workers, cause_of_death
from gapclose.errors import UserError
from tests.engines.counting import CountingEngine, transitions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pool():
    pool = Workers()
    pool.resize(2)
    yield pool
    pool.stop()


def expected(states, actions, hold=1):
    return states[:, None] + hold * actions.sum(2).cumsum(1)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_any_number_of_workers_computes_the_same(pool, number):
    pool.resize(number)
    states, actions = transitions(200)
    for _ in range(2):
        assert (pool.rollout(CountingEngine(), states, actions, 3) == expected(states, actions, 3)).all()
    assert (pool.executor is None) == (number == 0)


def test_shares_cover_all_rows_once_and_small_batches_stay_in_this_process(pool):
    for n in (1, 2, 7, 64, 1000):
        for steps in (1, 30):
            rows = np.concatenate([np.arange(n)[own] for own in pool.shares(n, steps)])
            assert (rows == np.arange(n)).all()
    assert len(pool.shares(MIN_TRANSITIONS, 1)) == 1
    assert len(pool.shares(1000, 10)) > 2
    pool.rollout(CountingEngine(), *transitions(1, 1), 1)
    assert pool.executor is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(pool, tmp_path, caplog, times):
    for number in range(times):
        (tmp_path / str(number)).touch()
    states, actions = transitions(200)
    states[100] = 13
    found = pool.rollout(CountingEngine(str(tmp_path)), states, actions, 1)
    assert (found == expected(states, actions)).all()
    assert caplog.text.count("has died") == times
    assert (pool.rollout(CountingEngine(), *transitions(200), 1) == expected(*transitions(200))).all()


def test_a_worker_that_is_killed_between_two_calls_is_replaced(pool, caplog):
    states, actions = transitions(200)
    pool.rollout(CountingEngine(), states, actions, 1)
    for process in list(pool.executor._processes.values()):
        os.kill(process.pid, signal.SIGKILL)
    assert (pool.rollout(CountingEngine(), states, actions, 1) == expected(states, actions)).all()
    assert "has died" in caplog.text


def test_the_run_stops_if_workers_die_repeatedly(pool, tmp_path):
    for number in range(9):
        (tmp_path / str(number)).touch()
    states, actions = transitions(200)
    states[:] = 13
    with pytest.raises(UserError, match="died 3 times in a row by SIGKILL, as when memory is short; use fewer workers"):
        pool.rollout(CountingEngine(str(tmp_path)), states, actions, 1)


def test_an_error_of_the_engine_is_raised_and_the_next_call_works(pool):
    states, actions = transitions(200)
    states[0] = 14
    with pytest.raises(ArithmeticError, match="fourteen"):
        pool.rollout(CountingEngine(), states, actions, 1)
    assert (pool.rollout(CountingEngine(), *transitions(200), 1) == expected(*transitions(200))).all()


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        ([1, 1], r"by itself \(exit code 1\), for the reason printed above; if you call .* __name__ == "),
        ([-signal.SIGKILL], "by SIGKILL, as when memory is short"),
        ([-signal.SIGSEGV], "by SIGSEGV, so the engine's library crashed; num_workers=0 shows where"),
        ([], "by SIGKILL"),
    ],
)
def test_the_cause_of_death_is_told_from_the_exit_code(codes, sentence):
    assert re.search(sentence, cause_of_death(codes))


def test_a_script_without_main_guard_is_told_to_have_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PARENT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run(
        [sys.executable, script, "0"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert "UserError: Worker processes of the simulator died 3 times in a row, each time by itself" in done.stderr


def test_workers_start_where_the_folder_of_temporary_files_has_a_long_path(tmp_path, monkeypatch, pool):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    found = pool.rollout(CountingEngine(), *transitions(200), 1)
    assert (found == expected(*transitions(200))).all()


PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # What a shell starts in the background ignores Ctrl-C.
from gapclose.engines.pool import workers
from tests.engines.counting import CountingEngine, transitions
if __name__ == "__main__":
    workers.resize(2)
    workers.rollout(CountingEngine(), *transitions(200), 1)
    print(*workers.executor._processes, flush=True)
    time.sleep(float(sys.argv[1]))
"""


def alive(pid):
    """Whether this process exists and has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [None, signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent_process(tmp_path, ending):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), "0" if ending is None else "60"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as parent:
        pids = parent.stdout.readline().split()
        assert len(pids) == 2
        if ending is not None:
            parent.send_signal(ending)
        error = parent.stderr.read() if ending != signal.SIGKILL else ""
        parent.wait(20)
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids))
    assert error.count("Traceback") == (ending == signal.SIGINT)  # The parent's own, and none of the workers.
