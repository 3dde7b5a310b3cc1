"""Worker processes for engines: started once, replaced when they die, and ended with the process that uses them."""

import atexit
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from multiprocessing.context import BaseContext

import numpy as np

from gapclose.cores import cores
from gapclose.engines.engine import Engine
from gapclose.errors import UserError

log = logging.getLogger(__name__)

SHARES_PER_WORKER = 4
"""Shares of a large batch for each worker; several, because some rows take longer than others."""
MIN_TRANSITIONS = 16
"""Rows times steps below which a share is not worth sending to another process."""
MIN_ROWS = 32
"""Rows of a share below which a batch is not split further than into one share per worker: engines that step rows
together are faster the more rows they get."""
MAX_PATH = 60
"""Length of the path of the folder of temporary files above which it may be too long; Linux allows 107 bytes, of which
multiprocessing needs 32, macOS 103."""
MAX_DEATHS = 3
"""How often in a row workers may die before the run stops; then the states or the machine are to blame."""


class Workers:
    """A pool of processes that share the rows of a batch among themselves.

    The processes start when they are first needed, and serve all engines of this process. When a worker dies, another
    one repeats its share: an engine's step is a pure function, so nothing is lost.

    Attributes:
        number: number of worker processes; with 0, this process does all the work.
    """

    def __init__(self) -> None:
        self.number = cores()
        self.executor: ProcessPoolExecutor | None = None

    def rollout(self, engine: Engine, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """Same as `Engine.rollout`, computed by the workers.

        Raises:
            UserError: workers died `MAX_DEATHS` times in a row.
        """
        rows = self.shares(len(states), actions.shape[1])
        if len(rows) <= 1:
            return engine.rollout(states, actions, hold)
        done: dict[int, np.ndarray] = {}
        deaths, codes = 0, []
        try:
            while len(done) < len(rows):
                before = len(done)
                waiting = {
                    number: self.submit(engine.rollout, states[own], actions[own], hold)
                    for number, own in enumerate(rows)
                    if number not in done
                }
                for number, future in waiting.items():
                    try:
                        done[number] = future.result()
                    except BrokenProcessPool:
                        codes = self.stop_broken() or codes
                if len(done) < len(rows):
                    deaths = deaths + 1 if len(done) == before else 1
                    self.report(deaths, codes, len(rows) - len(done), len(rows))
        except BaseException:  # Includes Ctrl-C. Shares that have not started are cancelled.
            self.stop()
            raise
        return np.concatenate([done[number] for number in range(len(rows))])

    def resize(self, number: int) -> None:
        """Sets the number of worker processes; running workers are stopped if it changes."""
        if number != self.number:
            self.stop()
            self.number = number

    def shares(self, n: int, steps: int) -> list[slice]:
        """Splits `n` rows of `steps` steps each into shares."""
        most = max(self.number, min(SHARES_PER_WORKER * self.number, n // MIN_ROWS))
        number = min(n, n * steps // MIN_TRANSITIONS, most)
        ends = np.linspace(0, n, max(1, number) + 1).round().astype(int)
        return [slice(*pair) for pair in pairwise(ends)]

    def submit(self, *call) -> Future:
        """Submits a call to the workers, and starts them first if there are none."""
        if self.executor is None:
            self.executor = ProcessPoolExecutor(self.number, context(), initializer=start_worker)
            atexit.register(self.stop)
        try:
            return self.executor.submit(*call)
        except BrokenProcessPool as error:  # A worker died after the last call, or while shares are being submitted.
            future: Future = Future()
            future.set_exception(error)
            return future

    def stop(self) -> None:
        """Ends the workers as soon as they have finished their current shares."""
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.executor = None
            atexit.unregister(self.stop)

    def stop_broken(self) -> list[int]:
        """Ends the workers after one has died, and returns the exit codes of those that nobody ended on purpose."""
        if self.executor is None:
            return []
        processes = list((self.executor._processes or {}).values())
        self.executor.shutdown(wait=True, cancel_futures=True)  # The others are terminated already.
        self.stop()
        codes = [process.exitcode for process in processes]
        return [code for code in codes if code not in (None, 0, -signal.SIGTERM)]

    def report(self, deaths: int, codes: list[int], left: int, total: int) -> None:
        """Logs that a worker has died, and raises `UserError` after `MAX_DEATHS` times in a row."""
        if deaths >= MAX_DEATHS:
            raise UserError(f"Worker processes of the simulator died {deaths} times in a row{cause_of_death(codes)}")
        log.warning(
            "A worker process of the simulator has died; another one replaces it, and %d of %d shares are repeated.",
            left,
            total,
        )


def cause_of_death(codes: list[int]) -> str:
    """Explains why workers died, and what to do, from their exit codes; a negative one is the number of a signal."""
    code = codes[0] if codes else -signal.SIGKILL
    if code > 0:
        return (
            f", each time by itself (exit code {code}), for the reason printed above; if you call gapclose from a "
            'script of your own, put the calls below the line if __name__ == "__main__": as every worker imports the '
            "script."
        )
    if code == -signal.SIGKILL:
        return (
            " by SIGKILL, as when memory is short; use fewer workers (num_workers), or a smaller planner.num_samples "
            "or evaluation.num_tasks."
        )
    return (
        f" by {signal.Signals(-code).name}, so the engine's library crashed; num_workers=0 shows where, and another "
        "version of the library may help."
    )


def start_worker() -> None:
    """Initialises a worker: it leaves Ctrl-C to its parent process, and exits when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def exit_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()


def context() -> BaseContext:
    """Returns the start method of the workers: as forks of a process without threads, where the system supports it.

    That process is reached through a file in the folder of temporary files, whose path must not be too long.
    """
    possible = "forkserver" in multiprocessing.get_all_start_methods() and len(tempfile.gettempdir()) < MAX_PATH
    return multiprocessing.get_context("forkserver" if possible else "spawn")


workers = Workers()
"""The workers of this process, shared by all its simulators."""
