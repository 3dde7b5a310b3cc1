"""Writes and reads the arrays that a report is made from, in addition to metrics.json: plans.npz and maps.npz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from gapclose.errors import UserError
from gapclose.evaluation.metrics_file import MODELS, TITLES
from gapclose.files import is_there, replacing

if TYPE_CHECKING:  # Reading results needs no PyTorch, whose import takes seconds.
    from torch import Tensor

    from gapclose.envs.simulator import Simulator
    from gapclose.planning.execution import Execution

PLANS, MAPS = "plans.npz", "maps.npz"
MOST_COORDINATE = 1e6
"""Positions in a world are smaller."""
MOST_BYTES, MOST_ARRAYS = 2**27, 1000
"""Size and number of unpacked arrays above which a file is not one of ours."""
MOST_NUMBERS = 6_000_000
"""How many coordinates the plans of a single task have at most; those of the largest tasks here have a tenth."""
MOST_SEGMENTS, MOST_CELLS = 10_000, 1000
"""How many segments an outline has at most, and how many cells a map has along each axis."""
TYPES = {"f": (np.float16, np.float32, np.float64), "i": (np.int32, np.int64), "b": (np.bool_,)}
"""The types of arrays, by kind."""


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


WORLD_SHAPES = {
    "outline": ("f", "K 2 2"),
    "success_radius": ("f", ""),
    "start": ("f", "N 2"),
    "goal": ("f", "N 2"),
    "goal_figure": ("f", "N F 2 2"),
}
PLAN_SHAPES = {
    "states": ("f", "N L+1 2"),
    "imagined": ("f", "N L+1 2"),
    "executed": ("b", "N L"),
    "error": ("f", "N L"),
    "success": ("b", "N"),
    "distance": ("f", "N"),
    "promised": ("f", "N"),
    "figures": ("f", "N L+1 F 2 2"),
    "imagined_figures": ("f", "N L+1 F 2 2"),
}
MAP_SHAPES = {"errors/edges": ("f", "2 G+1"), "cost/task": ("i", ""), "cost/ticks": ("f", "2 P")}
"""Kinds and shapes of arrays, as in `require_shapes`."""


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
    sizes: dict[str, int] = {}
    try:
        world = World(**fields_of(arrays, "world", World))
        require_shapes(world._asdict(), WORLD_SHAPES, sizes)
        require_drawable(world)
        plans: dict[str, dict[str, Plans]] = {}
        for model in MODELS:
            for way in (way for way in TITLES if f"{model}/{way}/states" in arrays):
                executed = Plans(**fields_of(arrays, f"{model}/{way}", Plans))
                require_shapes(executed._asdict(), PLAN_SHAPES, dict(sizes))
                plans.setdefault(model, {})[way] = executed
        if not plans:
            raise KeyError("plans of a model")
        if numbers_of_a_task(plans) > MOST_NUMBERS:
            raise ValueError("its plans have too many steps")
    except KeyError as error:
        raise UserError(f"The file {path} lacks {error}; delete it to have the report without plans.") from error
    except ValueError as error:
        raise UserError(f"The file {path} is damaged ({error}); delete it to have the report without plans.") from error
    return world, plans


def read_maps(path: Path) -> dict[str, NDArray]:
    """Reads the arrays of `gapclose.report.maps.make_maps`; empty if there is no such file.

    Raises:
        UserError: the file is another one, or damaged.
    """
    arrays = read_arrays(path)
    kinds = {name.partition("/")[0] for name in arrays for model in MODELS if name.endswith(f"/{model}")}
    needed = {name: MAP_SHAPES[name] for name in MAP_SHAPES if name.partition("/")[0] in kinds}
    for model in MODELS:
        if f"errors/{model}" in arrays:
            needed[f"errors/{model}"] = ("f", "G G")
        if f"cost/{model}" in arrays:
            needed |= {f"cost/{model}": ("f", "P P"), f"cost/{model}/plan": ("f", "2")}
    sizes: dict[str, int] = {}
    try:
        require_shapes({name: arrays[name] for name in needed}, needed, sizes)
        if max(sizes.values(), default=0) > MOST_CELLS:
            raise ValueError("its maps have too many cells")
    except KeyError as error:
        raise UserError(f"The file {path} lacks {error}; delete it to have the report without maps.") from error
    except ValueError as error:
        raise UserError(f"The file {path} is damaged ({error}); delete it to have the report without maps.") from error
    return arrays


def require_shapes(arrays: Mapping[str, NDArray | None], expected: Mapping[str, tuple[str, str]], sizes: dict) -> None:
    """Checks the shapes and the types of arrays.

    Args:
        arrays: by name; `None` for one that is optional and missing.
        expected: for each name, the kind of its type as in `TYPES`, and its shape: numbers, and letters for sizes that
            only have to agree, such as `N L+1 2`.
        sizes: the letters that are known already; those that are found are added.

    Raises:
        ValueError: a shape or a type differs.
    """
    for name, array in arrays.items():
        if array is None:
            continue
        kind, shape = expected[name]
        dimensions = shape.split()
        agree = array.dtype in TYPES[kind] and array.ndim == len(dimensions) and 0 not in array.shape
        for dimension, size in zip(dimensions, array.shape) if agree else ():
            letter, more = dimension[0], int(dimension[2:] or 0)
            known = int(letter) if letter.isdigit() else sizes.setdefault(letter, size - more)
            agree = agree and known + more == size
        if not agree:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")


def require_drawable(world: World) -> None:
    """Raises `ValueError` if the outline of a world has no width, or is too large, too high or too long for a drawing.

    Likewise if the radius of a goal is too large.
    """
    outline, radius = world.outline.astype(float), abs(float(world.success_radius))
    width, height = np.ptp(outline.reshape(-1, 2), axis=0)
    small = (np.abs(outline) < MOST_COORDINATE).all() and not radius >= MOST_COORDINATE
    if not small or not width > 1 / MOST_COORDINATE or height > 100 * width or len(world.outline) > MOST_SEGMENTS:
        raise ValueError("its world cannot be drawn")


def numbers_of_a_task(plans: Mapping[str, Mapping[str, Plans]]) -> int:
    """How many coordinates a drawing of one task has: of all models and ways."""
    drawn = [(each.states, each.imagined, each.figures, each.imagined_figures) for each in all_plans(plans)]
    return sum(array[0].size for arrays in drawn for array in arrays if array is not None)


def all_plans(plans: Mapping[str, Mapping[str, Plans]]) -> list[Plans]:
    """The plans of all models and ways."""
    return [executed for by_way in plans.values() for executed in by_way.values()]


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
    if not is_there(path):
        return {}
    with path.open("rb"):
        pass  # Whatever fails from here on is due to the contents.
    try:
        if path.stat().st_size > MOST_BYTES:  # Even its table of contents may be large.
            raise ValueError("it is too large")
        with ZipFile(path) as packed:
            sizes = [entry.file_size for entry in packed.infolist()]
        if sum(sizes) > MOST_BYTES or len(sizes) > MOST_ARRAYS:
            raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds other files than arrays")
        return arrays
    except Exception as error:  # Of a damaged file, zipfile and NumPy raise errors of many kinds, also MemoryError.
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
