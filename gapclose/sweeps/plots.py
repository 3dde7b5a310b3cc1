"""The pictures of a sweep: methods in their scenes; heat maps and main effects of what is varied."""

import textwrap
from collections.abc import Sequence
from glob import escape
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from gapclose.evaluation.plots import ERROR, SUCCESS, means_and_bars, save
from gapclose.evaluation.statistics import number
from gapclose.sweeps.effects import crossed, effects, learned, levels, main_effect, pair_means
from gapclose.sweeps.results import Setting
from gapclose.sweeps.runs import Value
from gapclose.sweeps.table import by_scene, label, short

SHOWN = {"success": "success rate", "model error": "model error under planning (MSE)"}
"""What heat maps and main effects are of, in words."""
DIVERGED = 1e4
"""Errors so many times the median are of models whose rollouts diverge; beside them nothing else could be told."""


def plot_methods(settings: Sequence[Setting], path: Path) -> Path:
    """Success and model error of all methods with their intervals: a column for each scene, a line for each method.

    The error of a model whose rollouts diverge is beyond the border, and an arrow there says so.
    """
    scenes = by_scene(settings)
    largest = largest_shown(settings)
    successes: dict[str, list[float]] = {}
    for setting in settings:
        successes.setdefault(label(setting), []).append(setting.estimates["success"].mean)
    methods = sorted(successes, key=lambda method: -fmean(successes[method]))
    places = {method: len(methods) - number for number, method in enumerate(methods)}
    figure, panels = plt.subplots(
        2,
        len(scenes),
        figsize=(1.6 + 3.4 * len(scenes), 1.6 + 0.62 * len(methods)),
        squeeze=False,
        layout="constrained",
        sharex="row",
        sharey=True,
    )
    rows = (
        {"success": ("open loop", "o", SUCCESS, 0.12), "MPC success": ("MPC", "s", "#2a9d4a", -0.12)},
        {"model error": ("model error", "o", ERROR, 0.0)},
    )
    for column, (scene, members) in enumerate(scenes.items()):
        for axes, marks in zip(panels[:, column], rows):
            for name, (title, marker, color, shift) in marks.items():
                shown = [(places[label(one)], one.estimates[name]) for one in members if name in one.estimates]
                if name == "model error":
                    beyond = [place for place, value in shown if value.mean > largest]
                    mark_diverged(axes, [1] * len(beyond), beyond, ">", axes.get_yaxis_transform())
                    shown = [(place, value) for place, value in shown if 1e-9 < value.mean <= largest]
                means, reach = means_and_bars(value for _, value in shown)
                heights = [place + shift for place, _ in shown]
                style = dict(fmt=marker, color=color, capsize=2, markersize=4)
                axes.errorbar(means, heights, xerr=reach, label=title, **style)
            axes.grid(axis="x", alpha=0.3)
        panels[0, column].set(title=folded(scene), xlim=(-0.03, 1.03), xlabel="success rate")
        panels[1, column].set(xscale="log", xlabel=SHOWN["model error"])
    panels[0, 0].set_yticks(list(places.values()), list(places))
    panels[0, 0].set_ylim(0.4, len(methods) + 0.6)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)


def largest_shown(settings: Sequence[Setting]) -> float:
    """The error beyond which rollouts diverge."""
    errors = [setting.estimates["model error"].mean for setting in settings]
    # The true dynamics have no error, and a logarithm has no place for one.
    return float(DIVERGED * np.median([error for error in errors if 1e-9 < error < np.inf] or [1.0]))


def mark_diverged(axes: Axes, x: Sequence[float], y: Sequence[float], arrow: str, transform: Transform) -> None:
    """Puts arrows at the border, in coordinates of which one is along it and the other in shares of the panel."""
    if len(x):  # A layout has no room for an artist of no size.
        axes.plot(x, y, arrow, color=ERROR, transform=transform, clip_on=False)


def draw_sweep(settings: Sequence[Setting], folder: Path, prefix: str = "") -> dict[str, Path]:
    """Main effects, and a heat map for each pair of keys that are varied against each other, as far as there are such.

    Those that earlier ones have left of keys that are varied no more are removed.

    Args:
        settings: of the sweep; the true dynamics beside learned models are left out.
        folder: for the pictures.
        prefix: of their names.

    Returns:
        The pictures by title.
    """
    settings = learned(settings)
    known = effects(settings)
    keys = [key for key in settings[0].values if key in known]
    titles = dict(zip(keys, short(keys)))
    pictures = {}
    if keys:
        pictures["Main effects"] = plot_main_effects(settings, titles, folder / f"{prefix}main_effects.png")
    for one, other in combinations(keys, 2):
        if crossed(settings, one, other):
            # More room lies across.
            down, across = sorted((one, other), key=lambda key: len(levels(settings, key)))
            path = folder / f"{prefix}heatmap_{titles[one]}_{titles[other]}.png".replace("/", "_")
            title = f"{titles[one]} against {titles[other]}"
            pictures[title] = plot_heat_maps(settings, {down: titles[down], across: titles[across]}, path)
    for name in ("main_effects", "heatmap_*"):
        for stale in set(folder.glob(f"{escape(prefix)}{name}.png")) - set(pictures.values()):
            stale.unlink()
    return pictures


def plot_heat_maps(settings: Sequence[Setting], titles: dict[str, str], path: Path) -> Path:
    """Success and model error by the values of two keys, means over all others.

    Args:
        settings: of the sweep.
        titles: of the two keys; the first goes down, the second across.
        path: the file.
    """
    down, across = titles
    rows, columns = levels(settings, down), levels(settings, across)
    size = 3.2 + 1.8 * len(columns), 2.2 + 0.6 * len(rows) + height_of_names(columns)
    largest = largest_shown(settings)
    figure, panels = plt.subplots(1, 2, figsize=size, layout="constrained", squeeze=False)
    for axes, (name, title) in zip(panels[0], SHOWN.items()):
        draw_cells(figure, axes, pair_means(settings, down, across, name).to_numpy(), name, largest)
        label_ticks(axes, columns, 0.9 * len(columns))
        axes.set_yticks(range(len(rows)), [folded(value) for value in rows])
        axes.set(xlabel=titles[across], ylabel=titles[down])
        axes.set_title(title, fontsize=11)
    figure.suptitle("Means over everything else that has finished", fontsize=11)
    return save(figure, path)


def folded(value: Value) -> str:
    """A value in lines of no more than a few words, as the description of a planner has many."""
    return textwrap.fill(str(value), 30, break_long_words=False, break_on_hyphens=False)


def height_of_names(values: Sequence[Value]) -> float:
    """How many inches those names need below a picture that stand upright there, as those of several lines do."""
    names = [folded(value) for value in values]
    return 0.075 * max(map(len, "\n".join(names).split("\n"))) if any("\n" in name for name in names) else 0.0


def label_ticks(axes: Axes, values: Sequence[Value], width: float) -> None:
    """Names the places across, slanted where they would run into each other within a width in inches.

    Names of several lines stand upright.
    """
    names = [folded(value) for value in values]
    crowded = max(len(line) for name in names for line in name.split("\n")) * len(names) > 9 * width
    turned = dict(rotation=90) if height_of_names(values) else dict(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xticks(range(len(names)), names, **(turned if crowded else {}))


def draw_cells(figure: Figure, axes: Axes, cells: np.ndarray, name: str, largest: float) -> None:
    """A heat map with a number in each cell; errors on a logarithmic scale that ends at `largest`."""
    known = cells[np.isfinite(cells) & (cells > 0)]
    if name == "success" or not len(known):
        norm = Normalize(0, 1)
    else:
        # Equal errors have a colour, too.
        norm = LogNorm(known.min(), max(min(known.max(), largest), 1.01 * known.min()))
    image = axes.imshow(cells, norm=norm, cmap="viridis" if name == "success" else "magma_r", aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        if not np.isfinite(value):
            axes.text(column, row, "–" if np.isnan(value) else "∞", ha="center", va="center", color="grey")
            continue
        red, green, blue, _ = image.cmap(norm(value))
        form = f"{value:.2f}" if name == "success" else number(value)
        color = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(column, row, form, ha="center", va="center", color=color, fontsize=9)
    figure.colorbar(image, ax=axes)


def plot_main_effects(settings: Sequence[Setting], titles: dict[str, str], path: Path) -> Path:
    """Success and model error at each value of each key, means over everything else, with 95 % intervals.

    Args:
        settings: of the sweep.
        titles: of the keys, each of which has a column.
        path: the file.
    """
    values = [levels(settings, key) for key in titles]
    lines = [max(folded(value).count("\n") + 1 for value in of_key) for of_key in values]
    widths = [max(2.2, max(0.55, 0.2 * most_lines) * len(of_key) + 1) for most_lines, of_key in zip(lines, values)]
    largest = largest_shown(settings)
    figure, panels = plt.subplots(
        2,
        len(titles),
        figsize=(1.2 + sum(widths), 5.6 + max(map(height_of_names, values))),
        width_ratios=widths,
        sharex="col",
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    measured = False
    for column, (key, title) in enumerate(titles.items()):
        found = [main_effect(settings, key, name) for name in SHOWN]
        ordered = all(isinstance(value, int | float) for value in found[0])
        for axes, effect, color in zip(panels[:, column], found, (SUCCESS, ERROR)):
            means, reach = means_and_bars(effect.values())
            if color == ERROR:  # A logarithm has no place for what is without error, or diverged.
                beyond = [place for place, mean in enumerate(means) if mean > largest]
                mark_diverged(axes, beyond, [1] * len(beyond), "^", axes.get_xaxis_transform())
                means = [mean if 0 < mean <= largest else np.nan for mean in means]
                measured = measured or not np.isnan(means).all()
            line = dict(fmt="o-" if ordered else "o", color=color, capsize=3, markersize=5)
            axes.errorbar(range(len(means)), means, reach, **line)
            axes.grid(alpha=0.3)
        label_ticks(panels[1, column], list(found[0]), widths[column])
        panels[1, column].set(xlabel=title, xlim=(-0.5, len(found[0]) - 0.5))
    panels[0, 0].set(ylabel=SHOWN["success"], ylim=(-0.03, 1.03))
    panels[1, 0].set_ylabel(SHOWN["model error"])
    if measured:
        panels[1, 0].set_yscale("log")
    figure.suptitle("Means over all else that the values of a key have in common, with 95 % intervals", fontsize=11)
    return save(figure, path)
