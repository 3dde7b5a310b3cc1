"""Starts the processes of a distributed run (`trainer=ddp`), connects them, and ends them.

The first process does all that concerns the run as a whole: it checks the settings, locks the folder, evaluates. The
others only train together with it, with the configuration that it hands to them. If one is lost, the run ends with one
sentence; if the first is lost, the others end, too.
"""

import os
import pickle
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from gapclose.errors import UserError
from gapclose.explanation import explain
from gapclose.processes import external_starter, is_distributed, run_bound, set_rank
from gapclose.streams import make_printing_safe
from gapclose.training.trainer import make_trainer

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the first may wait for another run that trains the same baseline."""
GRACE = 10.0
"""Seconds after the death of another process in which the first ends by itself, unless it hangs."""
HOST = "127.0.0.1"

Train = Callable[[DictConfig, Path], None]
"""What the other processes run: trains all models of a run in a folder."""


@contextmanager
def processes(config: DictConfig, folder: Path, train: Train) -> Iterator[None]:
    """Provides the processes of a run: all that is trained in this context is trained by all of them.

    Args:
        config: configuration of the run.
        folder: folder of the run.
        train: what the other processes run; a function of a module.

    Raises:
        UserError: another process was killed, or failed for a reason that a user can remove.
        RuntimeError: another process failed.
    """
    if not is_distributed(config):
        yield
        return
    if distributed.is_initialized():  # See `leading`.
        distributed.broadcast_object_list([(OmegaConf.to_container(config), folder)], src=0)
        try:
            yield
        except BaseException:
            disconnect()  # The others may be anywhere in the training, and end with an error.
            raise
        return
    trainer = make_trainer(config, logger=False)
    number = trainer.num_devices
    store = distributed.TCPStore(HOST, 0, number, is_master=True, wait_for_workers=False)
    others = [Other(rank, number, store.port, config, folder, train) for rank in range(1, number)]
    left = threading.Event()
    try:
        for other in others:
            other.await_start()
        threading.Thread(target=watch, args=(others, left), daemon=True).start()
        connect(trainer, 0, number, store)
        with ending_all_on_sigterm(others):
            yield
        for other in others:
            other.process.join()
            other.require_success()
    except Exception as error:
        if explain(error) is None:  # It may be that of a lost connection.
            for other in others:
                other.process.join(GRACE / len(others) if isinstance(error, RuntimeError) else 0)
                other.require_success()
        raise
    finally:
        left.set()
        for other in others:
            other.process.kill()
            other.process.join()
        disconnect()


@contextmanager
def leading(config: DictConfig) -> Iterator[None]:
    """Connects the first process of a run with the others, if srun or torchrun has started them, and dismisses them.

    Raises:
        UserError: the number of processes is not that of the settings.
    """
    starter = external_starter(config)
    if starter is None:
        yield
        return
    connect(make_trainer(config, logger=False), 0, starter.world_size())
    try:
        yield
    finally:
        if distributed.is_initialized():
            distributed.broadcast_object_list([None], src=0)
        disconnect()


def follow(config: DictConfig, train: Train) -> None:
    """Trains together with the first process, in a process that srun or torchrun has started, until it is dismissed.

    Raises:
        UserError: the first process has ended before.
    """
    starter = external_starter(config)
    connect(make_trainer(config, logger=False), starter.global_rank(), starter.world_size())
    received: list[Any] = [None]
    try:
        distributed.broadcast_object_list(received, src=0)
        while received[0] is not None:
            handed, folder = received[0]
            train(OmegaConf.create(handed), folder)
            distributed.broadcast_object_list(received, src=0)
    except RuntimeError as error:
        raise UserError("The first process of this run has ended, so this one does, too.") from error
    finally:
        disconnect()


class Other:
    """Another process of a run, as the first one sees it.

    Args:
        rank: its number; the first has 0.
        number: number of processes of the run.
        port: where the processes find each other.
        config: configuration of the run.
        folder: folder of the run.
        train: what the process runs.
    """

    def __init__(self, rank: int, number: int, port: int, config: DictConfig, folder: Path, train: Train) -> None:
        self.name = f"Process {rank + 1} of {number}"
        self.reports, sending = get_context("spawn").Pipe(duplex=False)
        call = pickle.dumps((take_part, train, OmegaConf.to_container(config), folder, rank, number, port))
        arguments = (os.getpid(), call, sending)
        self.process: SpawnProcess = get_context("spawn").Process(target=run_bound, args=arguments)
        self.process.start()
        sending.close()
        self.error: tuple[bool, str] | None = None

    def await_start(self) -> None:
        """Waits until the process is ready to connect.

        Raises:
            UserError: it was killed before.
        """
        connection.wait([self.reports])
        try:
            self.reports.recv()
        except EOFError:
            self.process.join()
            self.require_success()

    def require_success(self) -> None:
        """Raises the error with which the process has ended, if it has; see `processes`."""
        if not self.process.exitcode:
            return
        if self.error is None and self.reports.poll():
            try:
                self.error = self.reports.recv()
            except EOFError:
                self.error = None
        if self.error is None:
            raise UserError(self.loss())
        explained, text = self.error
        raise UserError(f"{self.name} failed: {text}") if explained else RuntimeError(f"{self.name} failed.\n{text}")

    def loss(self) -> str:
        """Returns the sentence that says that the process was killed."""
        code = self.process.exitcode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return (
            f"{self.name} of this run {how}, which may be for want of memory; the same command goes on with the run, "
            "in the same folder (hydra.run.dir, hydra.sweep.dir)."
        )


@contextmanager
def ending_all_on_sigterm(others: list[Other]) -> Iterator[None]:
    """Ends all processes of a run at once on SIGTERM, as it would end a single one.

    Lightning would end the training after the next batch, and tell the others through the connection, where they may be
    waiting for something else. While this process waits for them, no handler in Python runs, so a thread gets the news.
    """
    received, sending = socket.socketpair()
    sending.setblocking(False)

    def end() -> None:
        while number := received.recv(1):
            if number[0] == signal.SIGTERM:
                for other in others:
                    other.process.kill()
                os._exit(128 + signal.SIGTERM)

    earlier = signal.signal(signal.SIGTERM, lambda *_: None), signal.set_wakeup_fd(sending.fileno())
    threading.Thread(target=end, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier[1])
        signal.signal(signal.SIGTERM, earlier[0])
        sending.close()


def watch(others: list[Other], left: threading.Event) -> None:
    """Ends this process if another one was lost and the communication with it hangs, as NCCL's does."""
    while not left.wait(1):
        lost = [other for other in others if other.process.exitcode]
        if lost and not left.wait(2 * GRACE):
            print(f"Error: {lost[0].loss()}", file=sys.stderr, flush=True)
            for other in others:
                other.process.kill()
            os._exit(1)


def take_part(
    train: Train,
    config: dict[str, Any],
    folder: Path,
    rank: int,
    number: int,
    port: int,
    reports: connection.Connection,
) -> None:
    """Trains together with the first process, which started this one, and reports an error to it.

    Args:
        train: trains the models.
        config: configuration of the run.
        folder: folder of the run.
        rank: number of this process.
        number: number of processes of the run.
        port: where the processes find each other.
        reports: for a sign that this process is ready, and for its error.
    """
    make_printing_safe()
    warnings.simplefilter("ignore")  # The first process shows them.
    set_rank(rank)
    try:
        configuration = OmegaConf.create(config)
        trainer = make_trainer(configuration, logger=False)
        reports.send(None)
        connect(trainer, rank, number, distributed.TCPStore(HOST, port, number, is_master=False))
        train(configuration, folder)
        disconnect()
    except BaseException as error:
        with suppress(OSError):  # The first process has ended, which may be the cause.
            reports.send((explain(error) is not None, explain(error) or "".join(traceback.format_exception(error))))
        os._exit(1)


def connect(trainer: Trainer, rank: int, number: int, store: distributed.Store | None = None) -> None:
    """Connects this process with the others, by a store or by the variables of an external starter."""
    starter = None if store else trainer.strategy.cluster_environment
    device = trainer.strategy.parallel_devices[starter.local_rank() if starter else rank]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if starter:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = starter.main_address, str(starter.main_port)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=number, timeout=PATIENCE)
    set_rank(rank)


def disconnect() -> None:
    """Ends the connection with the other processes, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    set_rank(0)
