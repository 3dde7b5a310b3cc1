"""Pictures of a run: plans, errors along the horizon, epochs, budgets and animations.

Pictures of a sweep are in `gapclose.sweeps.plots`, charts of the HTML report in `gapclose.report.figures`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from PIL import Image

from gapclose.evaluation.statistics import Estimate
from gapclose.files import replacing
from gapclose.printable import printable, shortened

if TYPE_CHECKING:  # Reading results needs no PyTorch, whose import takes seconds.
    from gapclose.envs.simulator import Simulator
    from gapclose.planning.execution import Execution

MOST_PIXELS = 2**15
"""How wide or high a picture is at most."""
SUCCESS, ERROR = "#1b6ca8", "#d95f02"
TASKS = ("#1b6ca8", "#d95f02", "#2a9d4a", "#8e44ad", "#b8860b", "#c2185b")
"""Colours of tasks; a picture of trajectories shows one task for each colour."""
WITH_FIGURES = 2
"""How many tasks a picture shows if states are drawn as figures."""


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure to a file, atomically, and closes it."""
    try:
        with replacing(path) as temporary:
            dpi = min(130, MOST_PIXELS / max(figure.get_size_inches()))
            figure.savefig(temporary, dpi=dpi, format="png", bbox_inches="tight")
    finally:
        plt.close(figure)
    return path


def literal(text: str) -> str:
    """Text for a picture as it is, but shortened; Matplotlib takes text between two dollars for a formula."""
    return printable(shortened(text)).replace("$", r"\$")


def means_and_bars(estimates: Iterable[Estimate]) -> tuple[list[float], np.ndarray]:
    """Means, and the lengths `[2, K]` of the error bars below and above them."""
    means, low, high = np.array(list(estimates), float).reshape(-1, 3).T
    return means.tolist(), np.maximum(0, np.stack((means - low, high - means)))


def draw_world(axes: Axes, simulator: Simulator) -> None:
    """Draws the outline of the world and sets the limits of the axes to it."""
    outline = simulator.outline()
    axes.add_collection(LineCollection(outline.numpy(), colors="black", linewidths=2))
    low, high = outline.flatten(0, 1).amin(0), outline.flatten(0, 1).amax(0)
    margin = 0.04 * (high - low)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")


def draw_plans(axes: Axes, execution: Execution, simulator: Simulator, title: str) -> None:
    """Draws the imagined and executed trajectories of the first tasks and their ends into the world."""
    draw_world(axes, simulator)
    imagined, states = (simulator.position(x).cpu() for x in (execution.imagined, execution.states))
    goal = simulator.position(execution.tasks.goal).cpu()
    ends = (execution.tasks.goal, execution.imagined[:, -1], execution.states[:, -1])
    figures = [simulator.figure(end[: len(TASKS)]).cpu() for end in ends]
    # Figures overlap more than trajectories do.
    colors = TASKS if not figures[0].shape[1] else TASKS[:WITH_FIGURES]
    for color, *segments in zip(colors, *figures):
        for style, part in zip((dict(alpha=0.35, linewidths=3), dict(linestyles="--"), {}), segments):
            axes.add_collection(LineCollection(part.numpy(), colors=color, **style))
    for color, imagined_path, path, target in zip(colors, imagined, states, goal):
        axes.plot(*imagined_path.T, "--", color=color, linewidth=1.4)
        axes.plot(*path.T, color=color, linewidth=1.8)
        axes.plot(*path[0], "o", color=color, markersize=5)
        axes.plot(*path[-1], "X", color=color, markersize=8, markeredgecolor="white")
        axes.plot(*target, "*", color=color, markersize=14, markeredgecolor="white")
    success = simulator.success(execution.states[:, -1], execution.tasks.goal)
    title = textwrap.fill(title, 40)
    axes.set_title(f"{title}\n{int(success.sum())} of {len(success)} goals reached", fontsize=11)
    axes.axis("off")


def plot_plans(executions: Mapping[str, Execution], simulator: Simulator, path: Path) -> Path:
    """Plots imagined and executed trajectories of the same tasks, one panel per entry."""
    columns = min(len(executions), 4)
    rows = -(-len(executions) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(4.8 * columns, 5.2 * rows + 0.4), squeeze=False, layout="constrained"
    )
    for axes in panels.flat[len(executions) :]:
        axes.axis("off")
    for axes, (title, execution) in zip(panels.flat, executions.items()):
        draw_plans(axes, execution, simulator, title)
    handles = [
        plt.Line2D([], [], color="grey", linestyle="--", label="imagined by the model"),
        plt.Line2D([], [], color="grey", label="executed"),
        plt.Line2D([], [], color="grey", marker="o", linestyle="", label="start"),
        plt.Line2D([], [], color="grey", marker="X", linestyle="", label="end"),
        plt.Line2D([], [], color="grey", marker="*", linestyle="", markersize=10, label="goal"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, columnspacing=1.2)
    return save(figure, path)


def plot_error_along_horizon(
    executions: Mapping[str, Execution], expert_error: float, path: Path, reference_model: str = "baseline"
) -> Path:
    """Plots the MSE of the imagined states at each step of the plan, with a model's one-step error for reference.

    Args:
        executions: by name of the model.
        expert_error: one-step error on expert data.
        path: of the file.
        reference_model: name of the model that has this `expert_error`.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for title, execution in executions.items():
        executed = execution.executed
        error = (execution.squared_errors().where(executed, 0).sum(0) / executed.sum(0)).cpu()
        axes.semilogy(range(1, len(error) + 1), error, label=title)
    axes.axhline(expert_error, color="grey", linestyle=":", label=f"{reference_model}, one step, held-out data")
    axes.set(xlabel="step of the plan", ylabel="MSE of imagined states", title="World-model error along the horizon")
    axes.legend(frameon=False)
    return save(figure, path)


def plot_epochs(history: Sequence[Mapping[str, float]], held_out: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Plots success and error by epoch of finetuning.

    Args:
        history: metrics of the planner's rollouts on new training tasks; empty if there were none.
        held_out: metrics on held-out tasks, before the first and after the last epoch or after every epoch. In both
            lists `epoch` is the number of completed epochs.
        path: of the file.
    """
    figure, panels = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5.2), layout="constrained")
    shown = (("success_rate", "success rate", SUCCESS), ("world_model_error", "world-model error (MSE)", ERROR))
    for axes, (name, label, color) in zip(panels, shown):
        if history:
            axes.plot(*curve(history, name), "o-", color=color, label="new training tasks")
            if axes is panels[1] and "world_model_error_median" in history[0]:
                axes.plot(*curve(history, f"{name}_median"), "o:", color=color, label="median over tasks")
                axes.legend(frameon=False)
        if held_out:
            # A line between two points would suggest measurements between them.
            style = "D:" if len(held_out) > 2 else "D"
            axes.plot(*curve(held_out, name), style, color="black", fillstyle="none", label="held-out tasks")
        axes.set_ylabel(label)
    panels[0].set(ylim=(-0.03, 1.03), title="Open-loop plans by epochs of finetuning")
    panels[0].legend(frameon=False, loc="lower right")
    panels[1].set(yscale="log", xlabel="epochs of finetuning")
    panels[1].xaxis.get_major_locator().set_params(integer=True)
    return save(figure, path)


def curve(entries: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """The epochs of entries, and a metric at each of them."""
    return [entry["epoch"] for entry in entries], [entry[name] for entry in entries]


def plot_budgets(planners: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Plots open-loop success against planning time.

    Args:
        planners: for each planner its results, as returned by `compare`.
        path: of the file.
    """
    figure, axes = plt.subplots(figsize=(8.4, 4.8), layout="constrained")
    for number, (name, ways) in enumerate(planners.items()):
        result, budget = ways["open_loop"], ways["open_loop"]["budget"]
        color, style = plt.cm.tab10(number % 10), ("-", "--", ":")[number // 10 % 3]
        label = textwrap.fill(name, 32)
        axes.plot(budget["seconds"], budget["success_rate"], style, color=color, label=label)
        means, error_bars = means_and_bars([Estimate.of(result, "success_rate", "success_rate_ci95")])
        axes.errorbar(budget["seconds"][-1:], means, error_bars, marker="o", color=color, capsize=3, alpha=0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="seconds of planning, all tasks", ylabel="open-loop success rate", ylim=(-0.03, 1.03))
    axes.set_title("Success if the search had ended earlier (bars: 95 % interval at its end)", fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, path)


def animate(execution: Execution, simulator: Simulator, path: Path, shown: int = 9) -> Path:
    """Writes a GIF of the executed plans of the first tasks, side by side."""
    states, goal = execution.states[:shown].cpu(), execution.tasks.goal[:shown].cpu()
    n, frames = states.shape[:2]
    pictures = simulator.render(states.flatten(0, 1), goal.repeat_interleave(frames, 0)).numpy()
    height, width, channels = pictures.shape[1:]
    columns = min(n, 3)
    rows = -(-n // columns)
    grid = np.full((rows * columns, frames, height + 4, width + 4, channels), 128, np.uint8)
    grid[:, :, 2:-2, 2:-2] = 255
    grid[:n, :, 2:-2, 2:-2] = pictures.reshape(n, frames, height, width, channels)
    grid = grid.reshape(rows, columns, *grid.shape[1:]).transpose(2, 0, 3, 1, 4, 5)
    images = [Image.fromarray(frame) for frame in grid.reshape(frames, rows * (height + 4), -1, channels)]
    durations = [100] * (len(images) - 1) + [1500]
    with replacing(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return path
