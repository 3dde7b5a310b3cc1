"""The results of diagnostics as pictures."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from gapclose.diagnostics.diagnosis import ORACLE, Finding
from gapclose.diagnostics.error_maps import Grid
from gapclose.diagnostics.landscape import Slice
from gapclose.diagnostics.tables import COSTS, SEQUENCES
from gapclose.envs.simulator import Simulator
from gapclose.evaluation.plots import draw_world, means_and_bars, save
from gapclose.evaluation.statistics import Estimate

STYLES = {"goal": "-", "objective": "--"}
ATTACKS = ("#7f7f7f", "#d95f02", "#8e44ad", "#1b6ca8")
UNSEEN = "#e4e4e4"
"""The colour of cells without a value."""


def draw_all(
    models: Mapping[str, Any], findings: Mapping[str, Finding], cost_slice: Slice, simulator: Simulator, folder: Path
) -> list[Path]:
    """Draws all pictures of the results of `Diagnostics.run` into a folder."""
    learned = {name: metrics for name, metrics in models.items() if "attack" in metrics}
    with_landscape = {name: metrics for name, metrics in models.items() if "landscape" in metrics}
    pictures = [
        plot_attacks(learned, folder / "attacks.png"),
        plot_roughness(with_landscape, folder / "roughness.png"),
        plot_slices(cost_slice, folder / "landscape.png"),
    ]
    if all("gradients" in metrics for metrics in learned.values()):
        pictures.append(plot_gradients(learned, folder / "gradients.png"))
    learned_findings = {name: findings[name] for name in learned}
    if all(finding.arena for finding in learned_findings.values()):
        pictures.append(plot_error_maps(learned_findings, simulator, folder / "error_maps.png"))
        pictures.append(plot_densities(learned_findings, simulator, folder / "densities.png"))
    ensembles = {name: finding for name, finding in learned_findings.items() if "disagreement" in learned[name]}
    if ensembles:
        pictures.append(plot_disagreement(ensembles, folder / "disagreement.png"))
    return pictures


def color_of(name: str, names: Sequence[str]) -> Any:
    """The colour of a model; black for the true dynamics."""
    return "black" if name == ORACLE else plt.cm.tab10(list(names).index(name) % 10)


def wrapped(name: str) -> str:
    """Wraps a name so that it fits above a panel."""
    return textwrap.fill(name, 28)


def plot_attacks(models: Mapping[str, Any], path: Path) -> Path:
    """Plots the loss against the radius of the perturbation, one panel per model."""
    figure, panels = plt.subplots(
        1, len(models), figsize=(1.2 + 4.2 * len(models), 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, metrics) in zip(panels[0], models.items()):
        losses = metrics["attack"]
        multiples = losses["multiples"]
        axes.axhline(losses["clean"]["mean"], color="black", linestyle=":", label="clean")
        for key, style, words in (("loss", "-", ""), ("error", "--", ", true target")):
            for color, (attack, estimates) in zip(ATTACKS, losses[key].items()):
                means, bars = means_and_bars(map(Estimate.of, estimates))
                line = dict(linestyle=style, marker="o", markersize=4, color=color, capsize=3)
                axes.errorbar(multiples, means, bars, **line, label=f"{attack}{words}")
        axes.set(xscale="log", yscale="log", title=wrapped(name), xlabel="radius, as a multiple of the standard one")
        axes.set_xticks(multiples, [f"{multiple:g}" for multiple in multiples])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("loss (in units of a step's variance)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Loss on held-out expert transitions under attack (95 % intervals)")
    return save(figure, path)


def plot_roughness(models: Mapping[str, Any], path: Path) -> Path:
    """Plots gradient variation against step size around initial sequences and plans, and the largest curvature."""
    figure, panels = plt.subplots(1, 3, figsize=(13.2, 4.4), layout="constrained")
    panels[1].sharey(panels[0])
    for axes, kind in zip(panels, ("initial", "plan")):
        for name, cost, of_cost in costs(models):
            result = of_cost[kind]
            means, bars = means_and_bars(map(Estimate.of, result["gradient_variation"]))
            label = f"{name}, {COSTS[cost]}"
            line = dict(color=color_of(name, list(models)), linestyle=STYLES[cost], marker="o", markersize=4, capsize=3)
            axes.errorbar(result["step_sizes"], means, bars, **line, label=label)
        axes.set(xscale="log", yscale="log", xlabel="step size s (units of half the action range)")
        axes.set_title(f"around the {'initial sequences' if kind == 'initial' else 'plan'}", fontsize=11)
        axes.set_xticks(result["step_sizes"], [f"{step:g}" for step in result["step_sizes"]])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("gradient variation  ‖g(a + s d) - g(a)‖ / s")
    rows = list(costs(models))
    for number, (name, cost, of_cost) in enumerate(rows):
        for offset, (kind, marker) in enumerate((("initial", "o"), ("plan", "s"))):
            mean, bars = means_and_bars([Estimate.of(of_cost[kind]["curvature"])])
            style = dict(color=color_of(name, list(models)), marker=marker, capsize=3, linestyle="")
            style["fillstyle"] = "full" if cost == "goal" else "none"
            panels[2].errorbar(mean, [-number + 0.15 - 0.3 * offset], xerr=bars, **style)
    panels[2].set_yticks([-number for number in range(len(rows))], [f"{wrapped(n)}\n{COSTS[c]}" for n, c, _ in rows])
    panels[2].set(xscale="log", xlabel="largest curvature", ylim=(0.6 - len(rows), 0.6))
    panels[2].set_title("○ initial sequences   □ plan", fontsize=11)
    panels[2].grid(alpha=0.3, axis="x")
    figure.suptitle("How fast the gradient of the planning cost changes (means over tasks, 95 % intervals)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)
    return save(figure, path)


def costs(models: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields model, cost and the metrics of its landscape."""
    for name, metrics in models.items():
        for cost, of_cost in metrics["landscape"].items():
            yield name, cost, of_cost


def plot_slices(cost_slice: Slice, path: Path) -> Path:
    """Plots the planning cost over one plane per task, side by side for all models, with the paths of the descents."""
    names, num_tasks = list(cost_slice.costs), len(cost_slice.ticks)
    figure, panels = plt.subplots(
        num_tasks,
        len(names),
        figsize=(1.6 + 3.5 * len(names), 0.9 + 3.3 * num_tasks),
        squeeze=False,
        layout="constrained",
    )
    for task, row in enumerate(panels):
        costs = torch.stack([cost_slice.costs[name][task] for name in names]).cpu().numpy()
        x, y = cost_slice.ticks[task].cpu().numpy()
        high = costs[np.isfinite(costs)].max()
        low = max(costs.min(), 1e-4 * high)
        levels = np.geomspace(low, high, 25)
        for axes, name, cost in zip(row, names, costs):
            image = axes.contourf(x, y, cost.clip(low, high), levels, norm=LogNorm(low, high), cmap="viridis")
            axes.contour(x, y, cost.clip(low, high), levels[::3], colors="white", linewidths=0.3, alpha=0.5)
            descent = cost_slice.paths[name][task].cpu().numpy()
            axes.plot(*descent.T, color="#ff4d4d", linewidth=1.6)
            axes.plot(*descent[0], "o", color="white", markeredgecolor="black", markersize=7)
            axes.plot(*descent[-1], "X", color="#ff4d4d", markeredgecolor="white", markersize=9)
            axes.set_aspect("equal")
            axes.tick_params(labelsize=8)
            if task == 0:
                axes.set_title(wrapped(name), fontsize=11)
        share = float(cost_slice.share_in_plane[task])
        row[0].set_ylabel(f"task {task + 1}\n({share:.0%} of the paths'\nmovement is in the plane)", fontsize=9)
        bar = figure.colorbar(image, ax=list(row), label="cost (goal term)")
        bar.ax.yaxis.set_major_locator(LogLocator(10))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    figure.suptitle("Planning cost over the plane of the descents' paths  (○ start, × end of the model's own descent)")
    figure.supxlabel("coordinates in the plane, in units of half the action range", fontsize=10)
    return save(figure, path)


def plot_gradients(models: Mapping[str, Any], path: Path) -> Path:
    """Plots cosines with the true gradient by kind of sequence, and the share of tasks below 0."""
    names, kinds = list(models), list(SEQUENCES)
    figure, panels = plt.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained")
    shown = [(name, cost) for name in names for cost in models[name]["gradients"]]
    for number, (name, cost) in enumerate(shown):
        x = np.arange(len(kinds)) + 0.7 * ((number + 0.5) / len(shown) - 0.5)
        style = dict(color=color_of(name, names), marker="o", capsize=3, linestyle="", label=f"{name}, {COSTS[cost]}")
        style["fillstyle"] = "full" if cost == "goal" else "none"
        for axes, key in zip(panels, ("cosine", "share_negative")):
            means, bars = means_and_bars(Estimate.of(models[name]["gradients"][cost][kind][key]) for kind in kinds)
            axes.errorbar(x, means, bars, **style)
    panels[0].axhline(0, color="black", linewidth=0.8)
    panels[0].set(ylabel="cosine with the true gradient", ylim=(-1.05, 1.05))
    panels[1].set(ylabel="share of tasks whose cosine is below 0", ylim=(-0.03, 1.03))
    for axes in panels:
        axes.set_xticks(range(len(kinds)), SEQUENCES.values())
        axes.grid(alpha=0.3, axis="y")
    figure.suptitle("Gradient of the planning cost: model against true dynamics (95 % intervals)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    return save(figure, path)


def logarithmic(values: Sequence[Tensor]) -> LogNorm:
    """A logarithmic colour scale for all positive values, between their 1 % and 99 % quantiles."""
    flat = torch.cat([value.flatten().cpu() for value in values]).double()
    positive = flat[flat > 0]
    if not len(positive):
        return LogNorm(1e-12, 1)
    low, high = np.quantile(positive.numpy(), (0.01, 0.99)).tolist()
    return LogNorm(low, max(high, 1.01 * low))


def plot_error_maps(findings: Mapping[str, Finding], simulator: Simulator, path: Path) -> Path:
    """Plots one-step errors over the arena, and at the real and the imagined states of plans."""
    kinds = {
        "arena": "everywhere, random actions",
        "real": "along plans:\nreal states",
        "imagined": "along plans:\nimagined states (×: impossible)",
    }
    steps = [step for finding in findings.values() for step in (finding.arena, *finding.plans.values())]
    norm = logarithmic([step.error for step in steps])
    cmap = plt.cm.magma_r.with_extremes(bad=UNSEEN)
    figure, panels = plt.subplots(
        3, len(findings), figsize=(1.8 + 3.6 * len(findings), 10.6), squeeze=False, layout="constrained"
    )
    for column, (name, finding) in zip(panels.T, findings.items()):
        grid = Grid.over(simulator, len(finding.arena.error))
        positive = finding.arena.error.where(finding.arena.error != 0, norm.vmin)
        image = column[0].pcolormesh(*grid.edges.numpy(), positive.numpy(), norm=norm, cmap=cmap)
        states = {"real": finding.execution.states, "imagined": finding.execution.imagined}
        for axes, (kind, step) in zip(column[1:], finding.plans.items()):
            points, error = simulator.position(states[kind][:, :-1]).flatten(0, 1).cpu(), step.error.flatten().cpu()
            known = ~error.isnan()
            order = error[known].argsort()  # Draws the largest errors last, on top.
            axes.plot(*points[~known].T, "x", color="#1b6ca8", markersize=3)
            axes.scatter(*points[known][order].T, c=error[known][order].clamp(min=norm.vmin), s=5, norm=norm, cmap=cmap)
        for axes in column:
            draw_world(axes, simulator)
            axes.tick_params(labelsize=8)
        column[0].set_title(wrapped(name), fontsize=11)
    for axes, label in zip(panels[:, 0], kinds.values()):
        axes.set_ylabel(label)
    figure.colorbar(image, ax=panels, label="squared error of one step (simulator's units)", shrink=0.6, extend="both")
    figure.suptitle("Error of a single step")
    return save(figure, path)


def plot_densities(findings: Mapping[str, Finding], simulator: Simulator, path: Path) -> Path:
    """Plots the density of the states of the training data and of the plans."""
    figure, panels = plt.subplots(
        3, len(findings), figsize=(1.8 + 3.6 * len(findings), 10.6), squeeze=False, layout="constrained"
    )
    rows: dict[str, list[Tensor]] = {"training data": [], "plans: real states": [], "plans: imagined states": []}
    for finding in findings.values():
        grid = Grid.over(simulator, len(finding.visited))
        counts = (finding.visited, grid.counts(finding.execution.states), grid.counts(finding.execution.imagined))
        for shares, count in zip(rows.values(), counts):
            shares.append(100 * count / count.sum())
    norm = logarithmic([share for row in rows.values() for share in row])
    cmap = plt.cm.viridis.with_extremes(bad=UNSEEN)
    for axes_row, (label, shares) in zip(panels, rows.items()):
        for axes, share in zip(axes_row, shares):
            image = axes.pcolormesh(
                *grid.edges.numpy(), share.where(share > 0, torch.nan).numpy(), norm=norm, cmap=cmap
            )
            draw_world(axes, simulator)
            axes.tick_params(labelsize=8)
        axes_row[0].set_ylabel(label)
    for axes, name in zip(panels[0], findings):
        axes.set_title(wrapped(name), fontsize=11)
    figure.colorbar(image, ax=panels, label="share of the states per cell (%)", shrink=0.6, extend="both")
    figure.suptitle("States of the training data and of plans (grey: none)")
    return save(figure, path)


def plot_disagreement(findings: Mapping[str, Finding], path: Path) -> Path:
    """Plots disagreement against the true error of single steps, one panel per model."""
    figure, panels = plt.subplots(
        1, len(findings), figsize=(1.2 + 4.4 * len(findings), 4.8), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (name, finding) in zip(panels[0], findings.items()):
        steps = {"imagined states of plans": finding.plans["imagined"], "real states of plans": finding.plans["real"]}
        if finding.arena:
            steps = {"arena": finding.arena, **steps}
        for color, (label, step) in zip(("#bbbbbb", "#d95f02", "#1b6ca8"), steps.items()):
            x, y = step.disagreement.flatten().cpu(), step.error.flatten().cpu()
            axes.plot(x, y, ".", markersize=2.5, color=color, alpha=0.6, label=label, rasterized=True)
        axes.set(xscale="log", yscale="log", title=wrapped(name), xlabel="disagreement (variance of the members)")
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("squared error of one step")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, markerscale=4)
    figure.suptitle("Does disagreement predict the errors?")
    return save(figure, path)
