"""Worker processes for engines: started once, replaced when they die, gone when the run is."""

import atexit
import logging
import multiprocessing
import os
import signal
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

SHARES = 4
"""Shares of a large batch for each worker: some rows take longer than others."""
SMALL = 16
"""Rows times steps of a share that is not worth being sent to another process."""
LARGE = 32
"""Rows of a share that may do without others: engines that step rows together are the faster the more these are."""
ATTEMPTS = 3
"""How often in a row workers may die before that is taken for the states' fault, or the machine's."""


class Workers:
    """Processes that step the rows of a batch, each its share.

    They start when they are first needed, and serve all engines of the process. What a worker had in hand when it died
    is done again by another: an engine's step is a pure function, so nothing is lost.

    Attributes:
        number: of processes; 0 for none but this one.
    """

    def __init__(self) -> None:
        self.number = cores()
        self.executor: ProcessPoolExecutor | None = None

    def rollout(self, engine: Engine, states: np.ndarray, actions: np.ndarray, hold: int) -> np.ndarray:
        """As `Engine.rollout`, shared out.

        Raises:
            UserError: workers died again and again.
        """
        rows = self.shares(len(states), actions.shape[1])
        if len(rows) <= 1:
            return engine.rollout(states, actions, hold)
        done: dict[int, np.ndarray] = {}
        deaths = 0
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
                        self.stop()
                if len(done) < len(rows):
                    deaths = deaths + 1 if len(done) == before else 1
                    self.report(deaths, len(rows) - len(done), len(rows))
        except BaseException:  # Ctrl-C, too: what has not begun need not.
            self.stop()
            raise
        return np.concatenate([done[number] for number in range(len(rows))])

    def take(self, number: int) -> None:
        """From now on takes so many processes."""
        if number != self.number:
            self.stop()
            self.number = number

    def shares(self, n: int, steps: int) -> list[slice]:
        """How `n` rows of so many steps are shared out."""
        number = min(n, n * steps // SMALL, max(self.number, min(SHARES * self.number, n // LARGE)))
        ends = np.linspace(0, n, max(1, number) + 1).round().astype(int)
        return [slice(*pair) for pair in pairwise(ends)]

    def submit(self, *call) -> Future:
        """Gives a call to the workers, which are started if there are none."""
        if self.executor is None:
            self.executor = ProcessPoolExecutor(self.number, context(), initializer=begin)
            atexit.register(self.stop)
        try:
            return self.executor.submit(*call)
        except BrokenProcessPool as error:  # One has died since the last call, or while this is being shared out.
            future: Future = Future()
            future.set_exception(error)
            return future

    def stop(self) -> None:
        """Ends the workers as soon as they have done what they have in hand."""
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.executor = None
            atexit.unregister(self.stop)

    def report(self, deaths: int, left: int, of: int) -> None:
        """Says that a worker has died, and gives up if that does not stop."""
        if deaths >= ATTEMPTS:
            raise UserError(
                f"Worker processes of the simulator died {deaths} times in a row; if memory is short, take fewer of "
                "them (num_workers), or a smaller planner.num_samples or evaluation.num_tasks."
            )
        log.warning(
            "A worker process of the simulator has died; its place is taken by another, and %d of %d shares are done "
            "anew.",
            left,
            of,
        )


def begin() -> None:
    """What a worker does first: it leaves Ctrl-C to the process that it works for, and ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def context() -> BaseContext:
    """How workers are started: as copies of a process without threads, where the system can."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


workers = Workers()
"""Those of this process, whatever simulates in it."""
