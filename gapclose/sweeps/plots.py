"""Pictures of a sweep: all methods by condition; heat maps and main effects of the varied keys."""

import re
import textwrap
from collections.abc import Sequence
from glob import escape
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from gapclose.evaluation.plots import ERROR, SUCCESS, literal, means_and_bars, save
from gapclose.evaluation.statistics import number
from gapclose.sweeps.effects import crossed, effects, levels, main_effect, pair_means, without_oracle
from gapclose.sweeps.results import Setting
from gapclose.sweeps.runs import Value
from gapclose.sweeps.table import by_condition, label, short_names

SHOWN = {"success": "success rate", "model error": "model error under planning (MSE)"}
"""The measures in heat maps and main effects, with the titles of their axes."""
DIVERGED = 1e4
"""Errors above this multiple of the median come from diverged rollouts; drawn to scale they would hide the others."""
SMALLEST, LARGEST = 1e-9, 1e30
"""Errors outside are not drawn to scale: the true dynamics have none, and an axis ends at the largest float."""
MOST_LEVELS, MOST_CELLS, MOST_MAPS, MOST_CONDITIONS = 100, 2500, 50, 50
"""How many values of a key, cells of a heat map, heat maps, and conditions are drawn; more could not be looked at."""
MAX_NAME = 60
"""How many characters of the names of two keys the name of a file has; file systems allow 255 bytes."""


def plot_methods(settings: Sequence[Setting], path: Path) -> Path:
    """Plots success and model error of all methods with their intervals: a column per condition, a line per method.

    The error of a model whose rollouts diverge is outside the panel; an arrow at the border marks it.
    """
    conditions = dict(islice(by_condition(settings).items(), MOST_CONDITIONS))
    largest = largest_shown(settings)
    successes: dict[str, list[float]] = {}
    for setting in settings:
        successes.setdefault(label(setting), []).append(setting.estimates["success"].mean)
    methods = sorted(successes, key=lambda method: -fmean(successes[method]))
    heights = {method: len(methods) - number for number, method in enumerate(methods)}
    figure, panels = plt.subplots(
        2,
        len(conditions),
        figsize=(1.6 + 3.4 * len(conditions), 1.6 + 0.62 * len(methods)),
        squeeze=False,
        layout="constrained",
        sharex="row",
        sharey=True,
    )
    rows = (
        {"success": ("open loop", "o", SUCCESS, 0.12), "MPC success": ("MPC", "s", "#2a9d4a", -0.12)},
        {"model error": ("model error", "o", ERROR, 0.0)},
    )
    for column, (condition, members) in enumerate(conditions.items()):
        for axes, marks in zip(panels[:, column], rows):
            for name, (title, marker, color, shift) in marks.items():
                shown = [
                    (heights[label(member)], member.estimates[name]) for member in members if name in member.estimates
                ]
                if name == "model error":
                    diverged = [height for height, value in shown if value.mean > largest]
                    mark_diverged(axes, [1] * len(diverged), diverged, ">", axes.get_yaxis_transform())
                    shown = [(height, value) for height, value in shown if SMALLEST < value.mean <= largest]
                means, bars = means_and_bars(value for _, value in shown)
                y = [height + shift for height, _ in shown]
                style = dict(fmt=marker, color=color, capsize=2, markersize=4)
                axes.errorbar(means, y, xerr=bars, label=title, **style)
            axes.grid(axis="x", alpha=0.3)
        panels[0, column].set(title=wrapped(condition), xlim=(-0.03, 1.03), xlabel="success rate")
        panels[1, column].set(xscale="log", xlabel=SHOWN["model error"])
    panels[0, 0].set_yticks(list(heights.values()), list(map(literal, heights)))
    panels[0, 0].set_ylim(0.4, len(methods) + 0.6)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)


def largest_shown(settings: Sequence[Setting]) -> float:
    """The largest error that is drawn to scale; above it rollouts count as diverged."""
    errors = [setting.estimates["model error"].mean for setting in settings]
    return float(DIVERGED * np.median([error for error in errors if SMALLEST < error < LARGEST] or [1.0]))


def mark_diverged(axes: Axes, x: Sequence[float], y: Sequence[float], arrow: str, transform: Transform) -> None:
    """Draws arrows at the border of a panel; `transform` mixes data coordinates along it with shares of the panel."""
    if len(x):  # The constrained layout fails with an empty artist.
        axes.plot(x, y, arrow, color=ERROR, transform=transform, clip_on=False)


def draw_sweep(settings: Sequence[Setting], folder: Path, prefix: str = "") -> dict[str, Path]:
    """Draws the main effects, and a heat map for each pair of keys that are varied against each other.

    Removes older pictures of keys that are no longer varied.

    Args:
        settings: settings of the sweep; the true dynamics are left out if there are learned models.
        folder: folder to write the pictures into.
        prefix: prefix of the names of the picture files.

    Returns:
        The pictures by title.
    """
    settings = without_oracle(settings)
    measured = effects(settings)
    keys = [key for key in settings[0].values if key in measured and len(levels(settings, key)) <= MOST_LEVELS]
    titles = dict(zip(keys, short_names(keys)))
    pictures = {}
    if keys:
        pictures["Main effects"] = plot_main_effects(settings, titles, folder / f"{prefix}main_effects.png")
    sizes = {key: len(levels(settings, key)) for key in keys}
    pairs = (pair for pair in combinations(keys, 2) if sizes[pair[0]] * sizes[pair[1]] <= MOST_CELLS)
    for first, second in islice((pair for pair in pairs if crossed(settings, *pair)), MOST_MAPS):
        # The key with more values goes across, where there is more room.
        down, across = sorted((first, second), key=sizes.get)
        name = re.sub(r"[^\w.-]", "_", f"{titles[first]}_{titles[second]}")[:MAX_NAME]
        path = folder / f"{prefix}heatmap_{name}.png"
        title = f"{titles[first]} against {titles[second]}"
        pictures[title] = plot_heat_maps(settings, {down: titles[down], across: titles[across]}, path)
    for name in ("main_effects", "heatmap_*"):
        for stale in set(folder.glob(f"{escape(prefix)}{name}.png")) - set(pictures.values()):
            stale.unlink()
    return pictures


def plot_heat_maps(settings: Sequence[Setting], titles: dict[str, str], path: Path) -> Path:
    """Plots success and model error by the values of two keys, averaged over all others.

    Args:
        settings: settings of the sweep.
        titles: titles of the two keys; the first goes down, the second across.
        path: path of the picture.
    """
    down, across = titles
    rows, columns = levels(settings, down), levels(settings, across)
    size = 3.2 + 1.8 * len(columns), 2.2 + 0.6 * len(rows) + name_height(columns)
    largest = largest_shown(settings)
    figure, panels = plt.subplots(1, 2, figsize=size, layout="constrained", squeeze=False)
    for axes, (name, title) in zip(panels[0], SHOWN.items()):
        draw_cells(figure, axes, pair_means(settings, down, across, name).to_numpy(), name, largest)
        label_ticks(axes, columns, 0.9 * len(columns))
        axes.set_yticks(range(len(rows)), [wrapped(value) for value in rows])
        axes.set(xlabel=literal(titles[across]), ylabel=literal(titles[down]))
        axes.set_title(title, fontsize=11)
    figure.suptitle("Means over all finished runs with these two values", fontsize=11)
    return save(figure, path)


def wrapped(value: Value) -> str:
    """Wraps a value into short lines, since the description of a planner has many words."""
    return literal(textwrap.fill(str(value), 30, break_long_words=False, break_on_hyphens=False))


def name_height(values: Sequence[Value]) -> float:
    """The inches that the names of ticks need below a picture if they are vertical; 0 if all have a single line."""
    names = [wrapped(value) for value in values]
    return 0.075 * max(map(len, "\n".join(names).split("\n"))) if any("\n" in name for name in names) else 0.0


def label_ticks(axes: Axes, values: Sequence[Value], width: float) -> None:
    """Labels the ticks of the x axis, slanted where the labels would overlap within a width in inches.

    Labels of several lines are vertical.
    """
    names = [wrapped(value) for value in values]
    crowded = max(len(line) for name in names for line in name.split("\n")) * len(names) > 9 * width
    rotated = dict(rotation=90) if name_height(values) else dict(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xticks(range(len(names)), names, **(rotated if crowded else {}))


def draw_cells(figure: Figure, axes: Axes, cells: np.ndarray, name: str, largest: float) -> None:
    """Draws a heat map with a number in each cell; errors have a logarithmic colour scale that ends at `largest`."""
    norm, drawn = Normalize(0, 1), np.where(np.isfinite(cells), cells, np.nan)
    if name != "success":
        drawn = np.where(drawn > SMALLEST, drawn.clip(max=largest), 0 * drawn)
    positive = drawn[drawn > 0]
    if name != "success" and len(positive):
        # The factor keeps the scale valid if all errors are equal.
        norm = LogNorm(positive.min(), max(positive.max(), 1.01 * positive.min()))
    cmap = "viridis" if name == "success" else "magma_r"
    image = axes.imshow(drawn, norm=norm, cmap=cmap, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        if not np.isfinite(value):
            axes.text(column, row, "–" if np.isnan(value) else "∞", ha="center", va="center", color="grey")
            continue
        red, green, blue, _ = image.cmap(norm(drawn[row, column]))
        form = f"{value:.2f}" if name == "success" else number(value)
        color = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(column, row, form, ha="center", va="center", color=color, fontsize=9)
    figure.colorbar(image, ax=axes)


def plot_main_effects(settings: Sequence[Setting], titles: dict[str, str], path: Path) -> Path:
    """Plots success and model error at each value of each key, averaged over all else, with 95 % intervals.

    Args:
        settings: settings of the sweep.
        titles: titles of the keys; each key has a column.
        path: path of the picture.
    """
    values = [levels(settings, key) for key in titles]
    lines = [max(wrapped(value).count("\n") + 1 for value in key_values) for key_values in values]
    widths = [
        max(2.2, max(0.55, 0.2 * num_lines) * len(key_values) + 1) for num_lines, key_values in zip(lines, values)
    ]
    largest = largest_shown(settings)
    figure, panels = plt.subplots(
        2,
        len(titles),
        figsize=(1.2 + sum(widths), 5.6 + max(map(name_height, values))),
        width_ratios=widths,
        sharex="col",
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    any_error = False
    for column, (key, title) in enumerate(titles.items()):
        both = [main_effect(settings, key, name) for name in SHOWN]
        ordered = all(isinstance(value, int | float) for value in both[0])
        for axes, effect, color in zip(panels[:, column], both, (SUCCESS, ERROR)):
            means, bars = means_and_bars(effect.values())
            if color == ERROR:  # A logarithmic axis cannot show zero or diverged errors.
                diverged = [x for x, mean in enumerate(means) if mean > largest]
                mark_diverged(axes, diverged, [1] * len(diverged), "^", axes.get_xaxis_transform())
                means = [mean if SMALLEST < mean <= largest else np.nan for mean in means]
                any_error = any_error or not np.isnan(means).all()
            line = dict(fmt="o-" if ordered else "o", color=color, capsize=3, markersize=5)
            axes.errorbar(range(len(means)), means, bars, **line)
            axes.grid(alpha=0.3)
        label_ticks(panels[1, column], list(both[0]), widths[column])
        panels[1, column].set(xlabel=literal(title), xlim=(-0.5, len(both[0]) - 0.5))
    panels[0, 0].set(ylabel=SHOWN["success"], ylim=(-0.03, 1.03))
    panels[1, 0].set_ylabel(SHOWN["model error"])
    if any_error:
        panels[1, 0].set_yscale("log")
    figure.suptitle("Means over the conditions that all values of a key share, with 95 % intervals", fontsize=11)
    return save(figure, path)
