"""What the player in a report shows: plans, imagined and executed, in the coordinates of its drawing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapclose.evaluation.tables import TITLES
from gapclose.files import finite
from gapclose.report.record import Plans, World, ends_of, telling_task

WIDTH, MARGIN = 1000, 40
"""Of the drawing, in its own units; its height follows from the world's shape."""
MOST_NUMBERS = 600_000
"""How many coordinates a page may hold: some 700 kB of it."""
NAMES = {"baseline": "before finetuning", "finetuned": "after finetuning", "oracle": "true dynamics"}
"""What the models of a run are called in a report."""


def player(world: World, plans: Mapping[str, Mapping[str, Plans]], replan_every: int | None) -> dict[str, Any]:
    """All that player.js needs to know.

    Args:
        world: where the tasks are.
        plans: by model and way.
        replan_every: steps executed of each plan of MPC; the imagined trajectory begins anew there.

    Returns:
        `height` and `radius` (of the goal, or none) of the drawing, `outline` (segments), `start`, `goal`, its `figure`
        (segments, or none), `tasks` (their numbers), `models` (name in words; for each way the plans), `ways` (title,
        and how often it plans), and `left`, `right`, `way` and `task` to begin with. A trajectory is a list
        `x, y, x, y, …`, and so are the segments of a figure.
    """
    shown = tasks_shown(world, plans)
    place = Drawing(world.outline)
    left, right = (next(name for name in plans if plans[name] is ways) for ways in ends_of(plans))
    ways = dict.fromkeys(way for of_model in plans.values() for way in of_model)
    return {
        "height": place.height,
        "radius": None if np.isnan(world.success_radius) else round(float(world.success_radius * place.scale)),
        "outline": place(world.outline),
        "start": place(world.start[shown]),
        "goal": place(world.goal[shown]),
        "figure": figures(world.goal_figure, shown, place),
        "tasks": shown.tolist(),
        "models": {
            name: {
                "title": NAMES[name],
                "ways": {way: moves(one, shown, place, world) for way, one in of_model.items()},
            }
            for name, of_model in plans.items()
        },
        "ways": {
            way: {"title": TITLES[way], "replan": replan_every if way.startswith("mpc") else None} for way in ways
        },
        "left": left,
        "right": right,
        "way": "open_loop" if "open_loop" in ways else next(iter(ways)),
        "task": shown.tolist().index(telling_task(world, plans)),
    }


def tasks_shown(world: World, plans: Mapping[str, Mapping[str, Plans]]) -> NDArray:
    """The numbers of as many tasks as a page may hold: the first, and the one to begin with."""
    everything = [one for ways in plans.values() for one in ways.values()]
    kept = [x for one in everything for x in (one.states, one.imagined, one.figures, one.imagined_figures)]
    numbers = sum(x[0].size for x in kept if x is not None)
    most, tasks = max(1, MOST_NUMBERS // numbers), len(everything[0].success)
    return np.unique([*range(min(most, tasks)), telling_task(world, plans)])


def moves(plans: Plans, shown: NDArray, place: "Drawing", world: World) -> dict[str, Any]:
    """One model's plans, executed in one way; `parts` is the step after which imagined and executed part, or -1.

    A distance that is no number, such as what a model promised that has diverged, is null.
    """
    return {
        "states": place(plans.states[shown]),
        "imagined": place(plans.imagined[shown]),
        "figures": figures(plans.figures, shown, place),
        "imaginedFigures": figures(plans.imagined_figures, shown, place),
        "steps": plans.executed[shown].sum(1).tolist(),
        "success": plans.success[shown].tolist(),
        "distance": finite(plans.distance[shown].astype(float).round(2).tolist()),
        "promised": finite(plans.promised[shown].astype(float).round(2).tolist()),
        "parts": parting(plans, world)[shown].tolist(),
    }


def figures(segments: NDArray | None, shown: NDArray, place: "Drawing") -> list | None:
    """Figures `[N, ..., F, 2, 2]` of the tasks shown as lists `[n, ..., 4 F]`; none if there are none."""
    if segments is None:
        return None
    return place(segments[shown].astype(float).reshape(*segments[shown].shape[:-3], -1, 2))


def parting(plans: Plans, world: World) -> NDArray:
    """The first step after which what was imagined is farther than half the success radius from the truth, `[N]`.

    Where there is no such radius, a thirtieth of the world's width counts; -1 where they do not part. What is no number
    is farther than anything.
    """
    width = np.ptp(world.outline[..., 0])
    enough = width / 30 if np.isnan(world.success_radius) else world.success_radius / 2
    apart = ~(np.linalg.norm(plans.imagined - plans.states, axis=-1) <= enough)
    return np.where(apart.any(1), apart.argmax(1), -1)


class Drawing:
    """Turns positions in the world into those of a drawing, whose y points down.

    Args:
        outline: of the world, line segments `[K, 2, 2]`; it fills the drawing but for a margin.
    """

    def __init__(self, outline: NDArray) -> None:
        points = outline.reshape(-1, 2)
        self.low, high = points.min(0), points.max(0)
        self.scale = (WIDTH - 2 * MARGIN) / (high - self.low)[0]
        self.height = round(float((high - self.low)[1] * self.scale)) + 2 * MARGIN

    def __call__(self, positions: NDArray) -> list:
        """Positions `[..., L, 2]` as lists `[..., 2 L]` of whole numbers."""
        drawn = (positions - self.low) * self.scale + MARGIN
        drawn[..., 1] = self.height - drawn[..., 1]
        far = np.nan_to_num(drawn, nan=-9999, posinf=9999, neginf=-9999).clip(-9999, 9999)
        return far.round().astype(int).reshape(*drawn.shape[:-2], -1).tolist()
