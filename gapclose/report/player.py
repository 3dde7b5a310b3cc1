"""Prepares the data of the player in a report: imagined and executed plans in the coordinates of its drawing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapclose.evaluation.metrics_file import TITLES
from gapclose.files import finite
from gapclose.report.record import Plans, World, before_and_after, example_task, numbers_of_a_task

WIDTH, MARGIN = 1000, 40
"""Width and margin of the drawing in its own units; its height follows from the world's shape."""
MOST_NUMBERS = 600_000
"""How many coordinates a page may contain; they take about 700 kB."""
NAMES = {"baseline": "before finetuning", "finetuned": "after finetuning", "oracle": "true dynamics"}
"""The names of a run's models in a report."""


def player_data(world: World, plans: Mapping[str, Mapping[str, Plans]], replan_every: int | None) -> dict[str, Any]:
    """Collects the data for player.js.

    Args:
        world: in which the tasks are.
        plans: by model and way.
        replan_every: executed steps of each MPC plan; the imagined trajectory restarts from the real state there.

    Returns:
        `height` of the drawing, `radius` of the goal (or none), `outline` (segments), `start`, `goal`, its `figure`
        (segments, or none), `tasks` (their numbers), `models` (name in words; for each way the plans), `ways` (title,
        and how often it plans), and the initial `left`, `right`, `way` and `task`. A trajectory is a list
        `x, y, x, y, …`, and so are the segments of a figure.
    """
    shown = choose_tasks(world, plans)
    drawing = Drawing(world.outline)
    left, right = (next(name for name in plans if plans[name] is ways) for ways in before_and_after(plans))
    ways = dict.fromkeys(way for by_way in plans.values() for way in by_way)
    return {
        "height": drawing.height,
        "radius": None if np.isnan(world.success_radius) else round(float(world.success_radius * drawing.scale)),
        "outline": drawing(world.outline),
        "start": drawing(world.start[shown]),
        "goal": drawing(world.goal[shown]),
        "figure": figures(world.goal_figure, shown, drawing),
        "tasks": shown.tolist(),
        "models": {
            name: {
                "title": NAMES[name],
                "ways": {way: plan_data(executed, shown, drawing, world) for way, executed in by_way.items()},
            }
            for name, by_way in plans.items()
        },
        "ways": {
            way: {"title": TITLES[way], "replan": replan_every if way.startswith("mpc") else None} for way in ways
        },
        "left": left,
        "right": right,
        "way": "open_loop" if "open_loop" in ways else next(iter(ways)),
        "task": shown.tolist().index(example_task(world, plans)),
    }


def choose_tasks(world: World, plans: Mapping[str, Mapping[str, Plans]]) -> NDArray:
    """Chooses the tasks that a page contains: as many of the first ones as fit, and the example task."""
    most, tasks = max(1, MOST_NUMBERS // numbers_of_a_task(plans)), len(world.start)
    return np.unique([*range(min(most, tasks)), example_task(world, plans)])


def plan_data(plans: Plans, shown: NDArray, drawing: "Drawing", world: World) -> dict[str, Any]:
    """The data of one model's plans, executed in one way; `separation` is the step of `separation_steps`.

    A distance that is not finite, such as one promised by a diverged model, is null.
    """
    return {
        "states": drawing(plans.states[shown]),
        "imagined": drawing(plans.imagined[shown]),
        "figures": figures(plans.figures, shown, drawing),
        "imaginedFigures": figures(plans.imagined_figures, shown, drawing),
        "steps": plans.executed[shown].sum(1).tolist(),
        "success": plans.success[shown].tolist(),
        "distance": finite(plans.distance[shown].astype(float).round(2).tolist()),
        "promised": finite(plans.promised[shown].astype(float).round(2).tolist()),
        "separation": separation_steps(plans, world)[shown].tolist(),
    }


def figures(segments: NDArray | None, shown: NDArray, drawing: "Drawing") -> list | None:
    """Converts figures `[N, ..., F, 2, 2]` of the shown tasks to lists `[n, ..., 4 F]`; none if there are none."""
    if segments is None:
        return None
    return drawing(segments[shown].astype(float).reshape(*segments[shown].shape[:-3], -1, 2))


def separation_steps(plans: Plans, world: World) -> NDArray:
    """The first step `[N]` after which the imagined state is farther than half the success radius from the real one.

    Without a success radius, a thirtieth of the world's width is used. It is -1 where they never separate. Distances
    that are not numbers count as infinite.
    """
    width = np.ptp(world.outline[..., 0])
    limit = width / 30 if np.isnan(world.success_radius) else world.success_radius / 2
    with np.errstate(invalid="ignore"):
        apart = ~(np.linalg.norm(plans.imagined - plans.states, axis=-1) <= limit)
    return np.where(apart.any(1), apart.argmax(1), -1)


class Drawing:
    """Converts positions in the world to those of a drawing, whose y axis points down.

    Args:
        outline: of the world, line segments `[K, 2, 2]`; it fills the drawing except for a margin.
    """

    def __init__(self, outline: NDArray) -> None:
        points = outline.reshape(-1, 2)
        self.low, high = points.min(0), points.max(0)
        self.scale = (WIDTH - 2 * MARGIN) / (high - self.low)[0]
        self.height = round(float((high - self.low)[1] * self.scale)) + 2 * MARGIN

    def __call__(self, positions: NDArray) -> list:
        """Converts positions `[..., L, 2]` to lists `[..., 2 L]` of integers."""
        drawn = (positions - self.low) * self.scale + MARGIN
        drawn[..., 1] = self.height - drawn[..., 1]
        far = np.nan_to_num(drawn, nan=-9999, posinf=9999, neginf=-9999).clip(-9999, 9999)
        return far.round().astype(int).reshape(*drawn.shape[:-2], -1).tolist()
