"""Checks the state that training resumes from, before PyTorch and Lightning use it: they do not check it.

The fused optimizers even write beyond the end of a moment that is smaller than its parameter.
"""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gapclose.nested import values_in


def require_counts(checkpoint: dict[str, Any]) -> None:
    """Raises `ValueError` if the progress in a checkpoint is no count, or if lists of states are missing."""
    for name, kind in {"callbacks": dict, "optimizer_states": list, "lr_schedulers": list}.items():
        if not isinstance(checkpoint.get(name), kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    for name, count in values_in([checkpoint.get("loops"), checkpoint.get("epoch"), checkpoint.get("global_step")]):
        if not isinstance(count, int) or not 0 <= count < 2**53:
            raise ValueError(f"{name or 'epoch'} is {count!r:.50}")


def require_states(checkpoint: dict[str, Any], optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Checks that the states of optimizer and schedule in a checkpoint are like those of new ones, and tries them.

    Args:
        checkpoint: its contents.
        optimizer: a new one, which receives the state.
        scheduler: the schedule of this optimizer, which receives the state, and advances.

    Raises:
        Exception: they are not; a schedule that cannot advance raises errors of any kind.
    """
    states, schedules = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    if len(states) != 1 or not isinstance(states[0], dict) or not isinstance(states[0].get("state"), dict):
        raise ValueError("the state of the optimizer is missing")
    if not alike(states[0].get("param_groups"), optimizer.state_dict()["param_groups"]):
        raise ValueError("the settings of the optimizer are of other types")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, state in states[0]["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(state, dict):
            raise ValueError("the optimizer has the state of another parameter")
        for name, value in state.items():
            if not fits(value, parameters[index]):
                raise ValueError(f"{name!r:.30} of the optimizer does not fit its parameter")
    if not alike(schedules, [scheduler.state_dict()]):
        raise ValueError("the state of the schedule is of another type")
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(schedules[0])
    scheduler.step()


def fits(value: Any, parameter: Tensor) -> bool:
    """Whether a value in an optimizer's state is a number, or a tensor like the parameter."""
    if not isinstance(value, Tensor):
        return is_number(value)
    like = value.shape == parameter.shape and value.dtype == parameter.dtype and value.is_contiguous()
    return (like or value.dim() == 0) and value.is_floating_point()


def alike(stored: Any, new: Any) -> bool:
    """Whether a stored state has the structure and the types of a new one."""
    if isinstance(new, dict):
        return (
            isinstance(stored, dict)
            and stored.keys() == new.keys()
            and all(alike(stored[key], new[key]) for key in new)
        )
    if isinstance(new, list | tuple):
        same = isinstance(stored, list | tuple) and len(stored) == len(new)
        return same and all(map(alike, stored, new))
    return is_number(stored) if is_number(new) else type(stored) is type(new)


def is_number(value: Any) -> bool:
    """Whether the value is a number and not a truth value."""
    return type(value) in (int, float)
