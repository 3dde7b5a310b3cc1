"""The pictures of a run."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from gapclose.envs.simulator import Simulator
from gapclose.planning.execution import Execution

IMAGINED, EXECUTED, GOAL = "#d95f02", "#1b6ca8", "#2a9d4a"
SHOWN = 12
"""How many tasks a picture of trajectories shows."""


def save(figure: Figure, path: Path) -> Path:
    """Writes the file whole or not at all, and closes the figure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
    os.replace(temporary, path)
    return path


def draw_plans(axes: Axes, execution: Execution, simulator: Simulator, title: str) -> None:
    """Imagined and executed trajectories of the first tasks on one drawing of the world."""
    axes.add_collection(LineCollection(simulator.outline().numpy(), colors="black", linewidths=2))
    goal = simulator.position(execution.tasks.goal)[:SHOWN].cpu()
    imagined, states = (simulator.position(x)[:SHOWN].cpu() for x in (execution.imagined, execution.states))
    axes.add_collection(LineCollection(imagined.numpy(), colors=IMAGINED, linewidths=1.3, linestyles="--"))
    axes.add_collection(LineCollection(states.numpy(), colors=EXECUTED, linewidths=1.5))
    axes.scatter(*states[:, 0].T, s=16, color=EXECUTED, zorder=3)
    axes.scatter(*states[:, -1].T, s=26, color=EXECUTED, marker="x", zorder=4)
    axes.scatter(*goal.T, s=70, color=GOAL, marker="*", zorder=3)
    success = simulator.success(execution.states[:, -1], execution.tasks.goal)
    axes.set_title(f"{title}\n{int(success.sum())} of {len(success)} goals reached", fontsize=11)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.autoscale_view()


def plot_plans(executions: Mapping[str, Execution], simulator: Simulator, path: Path) -> Path:
    """Imagined against executed trajectories, one panel per entry, on the same tasks."""
    figure, panels = plt.subplots(1, len(executions), figsize=(4.6 * len(executions), 5.2), squeeze=False)
    for axes, (title, execution) in zip(panels[0], executions.items()):
        draw_plans(axes, execution, simulator, title)
    handles = [
        plt.Line2D([], [], color=IMAGINED, linestyle="--", label="imagined by the model"),
        plt.Line2D([], [], color=EXECUTED, label="executed in the simulator"),
        plt.Line2D([], [], color=GOAL, marker="*", linestyle="", markersize=9, label="goal"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return save(figure, path)


def plot_error_along_horizon(executions: Mapping[str, Execution], expert_error: float, path: Path) -> Path:
    """Mean squared error of the imagined states at each step of the plan."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for title, execution in executions.items():
        error = execution.squared_errors().nanmean(0).cpu()
        axes.semilogy(range(1, len(error) + 1), error, label=title)
    axes.axhline(expert_error, color="grey", linestyle=":", label="baseline, one step, expert data")
    axes.set(xlabel="step of the plan", ylabel="MSE of imagined states", title="World-model error along the horizon")
    axes.legend(frameon=False)
    return save(figure, path)


def plot_epochs(history: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Success and error of the planner's rollouts by finetuning epoch."""
    epochs = [entry["epoch"] for entry in history]
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5), layout="constrained")
    top.plot(epochs, [entry["success_rate"] for entry in history], "o-", color=EXECUTED)
    top.set(ylabel="success rate", ylim=(-0.03, 1.03), title="Plans on new tasks at the start of each finetuning epoch")
    bottom.semilogy(epochs, [entry["world_model_error"] for entry in history], "o-", color=IMAGINED)
    bottom.set(ylabel="world-model error (MSE)", xlabel="finetuning epoch")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    return save(figure, path)


def animate(execution: Execution, simulator: Simulator, path: Path, shown: int = 9) -> Path:
    """A GIF of the executed plans of the first tasks, side by side."""
    states, goal = execution.states[:shown].cpu(), execution.tasks.goal[:shown].cpu()
    n, frames = states.shape[:2]
    pictures = simulator.render(states.flatten(0, 1), goal.repeat_interleave(frames, 0)).unflatten(0, (n, frames))
    columns = min(n, 3)
    rows = -(-n // columns)
    padding = torch.full((rows * columns - n, *pictures.shape[1:]), 255, dtype=torch.uint8)
    grid = torch.cat((pictures, padding)).unflatten(0, (rows, columns))
    grid = torch.nn.functional.pad(grid, (0, 0, 2, 2, 2, 2), value=128)
    video = grid.permute(2, 0, 3, 1, 4, 5).flatten(3, 4).flatten(1, 2).numpy()
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in video]
    buffer = io.BytesIO()
    durations = [100] * (len(images) - 1) + [1500]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)
    return path
