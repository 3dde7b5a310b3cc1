"""The processes of a run: which of them this one is, what they agree on, and that none outlives its parent.

A run has one process, or several with `trainer=ddp`. What a process is, the run that started it knows; a variable such
as RANK may have been set for anything else. Only srun, torchrun and the like, which start all processes of a run
themselves, tell them by variables.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments import ClusterEnvironment

Decision = TypeVar("Decision")
_rank = 0


def is_distributed(config: DictConfig) -> bool:
    """Whether a run is distributed over processes by trainer=ddp."""
    trainer = config.get("trainer")
    return isinstance(trainer, DictConfig) and trainer.get("strategy") is not None


def external_starter(config: DictConfig) -> "ClusterEnvironment | None":
    """Returns what started all processes of a distributed run, such as srun or torchrun; `None` if the run itself does.

    Imports Lightning, which takes seconds, for distributed runs only.
    """
    if not is_distributed(config):
        return None
    from lightning.fabric.plugins import environments

    kinds = (environments.TorchElasticEnvironment, environments.SLURMEnvironment)
    kinds += (environments.LSFEnvironment, environments.MPIEnvironment)
    found = next((kind() for kind in kinds if kind.detect()), None)
    return found if found and found.world_size() > 1 else None


def is_first_process(config: DictConfig) -> bool:
    """Whether this is the only process of a run, or the first of a distributed one."""
    starter = external_starter(config)
    return starter is None or starter.global_rank() == 0


def rank() -> int:
    """Returns the number of this process among those that train together now; 0 for the first or only one."""
    return _rank


def set_rank(number: int) -> None:
    """Sets the number of this process, also for Lightning, which has taken it from the environment."""
    global _rank
    from lightning.pytorch.utilities import rank_zero_only

    _rank = rank_zero_only.rank = number


def from_first(decide: Callable[[], Decision]) -> Decision:
    """Returns what the first process decides, in all processes that train together now.

    Each would otherwise look at files at another moment, and go another way than the others.
    """
    from torch import distributed

    if not distributed.is_initialized():
        return decide()
    decided = [decide() if rank() == 0 else None]
    distributed.broadcast_object_list(decided, src=0)
    return decided[0]


def run_bound(parent: int, call: bytes, *arguments: Any) -> None:
    """Calls a function in a new process, which leaves Ctrl-C to its parent and ends with it from the very start.

    Args:
        parent: number of the process that started this one.
        call: pickle of the function and of its first arguments, which may take long to import.
        arguments: its other arguments, such as connections, which only the start of a process can hand on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    # The default again: locks of "spawn", such as tqdm's, outlive a killed process, which prints a warning.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    function, *first = pickle.loads(call)
    function(*first, *arguments)


def end_with_parent(parent: int) -> None:
    """Ends this process within a second after the one that started it has ended, even if that was by SIGKILL.

    Args:
        parent: number of that process; it may have ended already.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if not any(thread.name == end_with_parent.__name__ for thread in threading.enumerate()):
        threading.Thread(target=watch, name=end_with_parent.__name__, daemon=True).start()
