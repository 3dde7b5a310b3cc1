"""Writes and reads the arrays that a report is made from, in addition to metrics.json: plans.npz and maps.npz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gapclose.errors import UserError
from gapclose.files import replacing

if TYPE_CHECKING:  # Reading results needs no PyTorch, whose import takes seconds.
    from torch import Tensor

    from gapclose.envs.simulator import Simulator
    from gapclose.planning.execution import Execution

PLANS, MAPS = "plans.npz", "maps.npz"
MODELS = ("baseline", "finetuned", "oracle")
"""The models of a run, in the order of display."""


class Plans(NamedTuple):
    """One model's plans for `N` tasks, executed in one way, with positions as they are drawn.

    Attributes:
        states: positions in the simulator, `[N, L+1, 2]`.
        imagined: positions that the model predicted, `[N, L+1, 2]`.
        executed: whether a step was executed, bool `[N, L]`.
        error: squared errors of the imagined states, `[N, L]`; NaN where nothing was executed.
        success: whether the goal was reached, bool `[N]`.
        distance: to the goal at the end, `[N]`.
        promised: the same according to the model, `[N]`.
        figures: line segments that show the simulated states beyond their position, `[N, L+1, F, 2, 2]`; none if F is
            0.
        imagined_figures: the same for the imagined states.
    """

    states: NDArray
    imagined: NDArray
    executed: NDArray
    error: NDArray
    success: NDArray
    distance: NDArray
    promised: NDArray
    figures: NDArray | None = None
    imagined_figures: NDArray | None = None

    @classmethod
    def of(cls, execution: Execution, simulator: Simulator) -> Self:
        """Takes them from an execution."""
        goal, final = execution.tasks.goal, execution.states[:, -1]
        return cls(
            stored(simulator.position(execution.states)),
            stored(simulator.position(execution.imagined)),
            stored(execution.executed),
            stored(execution.squared_errors()),
            stored(simulator.success(final, goal)),
            stored(simulator.distance(final, goal)),
            stored(simulator.distance(execution.promised, goal)),
            stored_figures(simulator.figure(execution.states)),
            stored_figures(simulator.figure(execution.imagined)),
        )


class World(NamedTuple):
    """The world, and the starts and goals of its tasks.

    Attributes:
        outline: line segments `[K, 2, 2]`.
        success_radius: distance to the goal that counts as success; NaN if success depends on more than the position.
        start: positions `[N, 2]`.
        goal: positions `[N, 2]`.
        goal_figure: line segments that show the goal beyond its position, `[N, F, 2, 2]`; none if F is 0.
    """

    outline: NDArray
    success_radius: NDArray
    start: NDArray
    goal: NDArray
    goal_figure: NDArray | None = None

    @classmethod
    def of(cls, execution: Execution, simulator: Simulator) -> Self:
        """Takes it from an execution."""
        start, goal = (stored(simulator.position(states)) for states in execution.tasks)
        radius = np.nan if simulator.success_radius is None else simulator.success_radius
        figure = stored_figures(simulator.figure(execution.tasks.goal))
        return cls(stored(simulator.outline()), np.float32(radius), start, goal, figure)


def stored(values: Tensor) -> NDArray:
    """Converts values for storage: on the CPU, in single precision."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def stored_figures(figures: Tensor) -> NDArray | None:
    """Converts figures `[..., F, 2, 2]` for storage in half precision, enough for drawing; none if F is 0."""
    return stored(figures).astype(np.float16) if figures.shape[-3] else None


def write_plans(path: Path, executions: Mapping[str, Mapping[str, Execution]], simulator: Simulator) -> None:
    """Writes executions, given by model and way, for the report."""
    first = next(iter(next(iter(executions.values())).values()))
    arrays = {f"world/{name}": array for name, array in World.of(first, simulator)._asdict().items()}
    for model, ways in executions.items():
        for way, execution in ways.items():
            plans = Plans.of(execution, simulator)._asdict()
            arrays |= {f"{model}/{way}/{name}": array for name, array in plans.items()}
    write_arrays(path, {name: array for name, array in arrays.items() if array is not None})


def read_plans(path: Path) -> tuple[World, dict[str, dict[str, Plans]]] | None:
    """Reads a file of `write_plans`, with the plans by model and way; none if there is no such file.

    Raises:
        UserError: the file is another one, or damaged.
    """
    arrays = read_arrays(path)
    if not arrays:
        return None
    try:
        world = World(**fields_of(arrays, "world", World))
        plans: dict[str, dict[str, Plans]] = {}
        for model in MODELS:
            for way in dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith(f"{model}/")):
                plans.setdefault(model, {})[way] = Plans(**fields_of(arrays, f"{model}/{way}", Plans))
    except KeyError as error:
        raise UserError(f"The file {path} lacks {error}; delete it to have the report without plans.") from error
    return world, plans


def fields_of(arrays: Mapping[str, NDArray], folder: str, kind: type[NamedTuple]) -> dict[str, NDArray]:
    """Selects the fields of a record from arrays; missing fields with a default are left out."""
    needed = [name for name in kind._fields if name not in kind._field_defaults or f"{folder}/{name}" in arrays]
    return {name: arrays[f"{folder}/{name}"] for name in needed}


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Writes arrays by name to a compressed file, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray]:
    """Reads a file of `write_arrays`; empty if there is no such file.

    Raises:
        UserError: the file is another one, or damaged.
    """
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise UserError(
            f"The file {path} is damaged ({type(error).__name__}); delete it to have the report without it."
        ) from error


def example_task(world: World, plans: Mapping[str, Mapping[str, Plans]]) -> int:
    """Chooses the task to show first: missed before and reached after finetuning, with the largest error before.

    Plans that stay inside the world's bounds are preferred, because a drawing shows them completely. Without such a
    task, it is one that was missed before, otherwise any.
    """
    first, last = (ways.get("open_loop") or next(iter(ways.values())) for ways in before_and_after(plans))
    error = np.where(first.executed, first.error, 0).sum(1)
    corners = world.outline.reshape(-1, 2)
    inside = ((first.imagined >= corners.min(0)) & (first.imagined <= corners.max(0))).all((1, 2))
    repaired = ~first.success & last.success
    for chosen in (repaired & inside, repaired, ~first.success & inside, ~first.success):
        if chosen.any():
            return int(np.where(chosen, error, -1).argmax())
    return int(error.argmax())


def before_and_after(by_model: Mapping[str, Mapping]) -> tuple[Mapping, Mapping]:
    """The entries of the model before and after finetuning; if there is only one model, its entry twice."""
    known = [by_model[name] for name in MODELS if name in by_model]
    return by_model.get("baseline", known[0]), by_model.get("finetuned", known[-1])
