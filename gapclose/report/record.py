"""What a report is made from beside metrics.json: arrays that a run leaves in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.planning.execution import Execution

PLANS, MAPS = "plans.npz", "maps.npz"
MODELS = ("baseline", "finetuned", "oracle")
"""The models of a run, in the order in which they are shown."""


class Plans(NamedTuple):
    """One model's plans for `N` tasks, executed in one way, as they are drawn.

    Attributes:
        states: where the simulator went, `[N, L+1, 2]`.
        imagined: where the model believed to go, `[N, L+1, 2]`.
        executed: whether a step was executed, bool `[N, L]`.
        error: squared errors of the imagined states, `[N, L]`; NaN where nothing was executed.
        success: whether the goal was reached, bool `[N]`.
        distance: to the goal at the end, `[N]`.
        promised: the same according to the model, `[N]`.
        figures: what is drawn of the simulated states beside their position, `[N, L+1, F, 2, 2]`; none if F is 0.
        imagined_figures: the same of the imagined states.
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
        """Those of an execution."""
        goal, final = execution.tasks.goal, execution.states[:, -1]
        return cls(
            stored(simulator.position(execution.states)),
            stored(simulator.position(execution.imagined)),
            stored(execution.executed),
            stored(execution.squared_errors()),
            stored(simulator.success(final, goal)),
            stored(simulator.distance(final, goal)),
            stored(simulator.distance(execution.promised, goal)),
            drawn(simulator.figure(execution.states)),
            drawn(simulator.figure(execution.imagined)),
        )


class World(NamedTuple):
    """Where the tasks are.

    Attributes:
        outline: line segments `[K, 2, 2]`.
        success_radius: how near to the goal counts as reached; NaN where that is no matter of the position alone.
        start: `[N, 2]`.
        goal: `[N, 2]`.
        goal_figure: what is drawn of the goal beside its position, `[N, F, 2, 2]`; none if F is 0.
    """

    outline: NDArray
    success_radius: NDArray
    start: NDArray
    goal: NDArray
    goal_figure: NDArray | None = None

    @classmethod
    def of(cls, execution: Execution, simulator: Simulator) -> Self:
        """That of an execution."""
        start, goal = (stored(simulator.position(states)) for states in execution.tasks)
        radius = np.nan if simulator.success_radius is None else simulator.success_radius
        figure = drawn(simulator.figure(execution.tasks.goal))
        return cls(stored(simulator.outline()), np.float32(radius), start, goal, figure)


def stored(values: Tensor) -> NDArray:
    """Values as they are stored: on the CPU, in single precision."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def drawn(figures: Tensor) -> NDArray | None:
    """Figures `[..., F, 2, 2]` as they are stored: as exactly as they can be drawn; none if they consist of nothing."""
    return stored(figures).astype(np.float16) if figures.shape[-3] else None


def write_plans(path: Path, executions: Mapping[str, Mapping[str, Execution]], simulator: Simulator) -> None:
    """Keeps executions, given by model and way, for the report."""
    first = next(iter(next(iter(executions.values())).values()))
    arrays = {f"world/{name}": array for name, array in World.of(first, simulator)._asdict().items()}
    for model, ways in executions.items():
        for way, execution in ways.items():
            plans = Plans.of(execution, simulator)._asdict()
            arrays |= {f"{model}/{way}/{name}": array for name, array in plans.items()}
    write_arrays(path, {name: array for name, array in arrays.items() if array is not None})


def read_plans(path: Path) -> tuple[World, dict[str, dict[str, Plans]]] | None:
    """What `write_plans` wrote, the plans by model and way; none if there is no such file.

    Raises:
        UserError: it is another file, or damaged.
    """
    arrays = read_arrays(path)
    if not arrays:
        return None
    try:
        world = World(**part(arrays, "world", World))
        plans: dict[str, dict[str, Plans]] = {}
        for model in MODELS:
            for way in dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith(f"{model}/")):
                plans.setdefault(model, {})[way] = Plans(**part(arrays, f"{model}/{way}", Plans))
    except KeyError as error:
        raise UserError(f"The file {path} lacks {error}; delete it to have the report without plans.") from error
    return world, plans


def part(arrays: Mapping[str, NDArray], folder: str, kind: type[NamedTuple]) -> dict[str, NDArray]:
    """The fields of a record among arrays; those that may be missing are left out where they are."""
    needed = [name for name in kind._fields if name not in kind._field_defaults or f"{folder}/{name}" in arrays]
    return {name: arrays[f"{folder}/{name}"] for name in needed}


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Writes arrays by name, compressed, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray]:
    """What `write_arrays` wrote; nothing if there is no such file.

    Raises:
        UserError: it is another file, or damaged.
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


def telling_task(world: World, plans: Mapping[str, Mapping[str, Plans]]) -> int:
    """The task that says most: missed before and reached after finetuning, by the plan that was farthest off.

    Plans that never leave the world's bounds come first, for a drawing shows them whole. Without a task that was
    missed and then reached, any that was missed before, and else any; of one model alone likewise.
    """
    first, last = (ways.get("open_loop") or next(iter(ways.values())) for ways in ends_of(plans))
    error = np.where(first.executed, first.error, 0).sum(1)
    corners = world.outline.reshape(-1, 2)
    inside = ((first.imagined >= corners.min(0)) & (first.imagined <= corners.max(0))).all((1, 2))
    mended = ~first.success & last.success
    for chosen in (mended & inside, mended, ~first.success & inside, ~first.success):
        if chosen.any():
            return int(np.where(chosen, error, -1).argmax())
    return int(error.argmax())


def ends_of(by_model: Mapping[str, Mapping]) -> tuple[Mapping, Mapping]:
    """What is there of the model before and after finetuning; of the only one that there is, twice."""
    known = [by_model[name] for name in MODELS if name in by_model]
    return by_model.get("baseline", known[0]), by_model.get("finetuned", known[-1])
