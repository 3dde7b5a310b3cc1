"""The charts of a run's report.

To add a picture, write a function that returns a `Section` of one or several charts, or none if there is no data, and
add it to `run_sections`. The functions below are examples: `horizon_section` draws lines, `error_section` heat maps.
Colours are names of CSS variables in style.css, which page.js replaces when it draws. The charts of a sweep's report
are in `gapclose.report.sweep_figures`.
"""

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from gapclose.csv_files import numbers, require_bounded
from gapclose.errors import UserError
from gapclose.evaluation.metrics_file import MODELS
from gapclose.evaluation.tables import held_out_by_epoch
from gapclose.files import read_text, walk
from gapclose.printable import printable, shortened
from gapclose.report.player import NAMES
from gapclose.report.record import Plans, World

COLORS = {"baseline": "var(--before)", "finetuned": "var(--after)", "oracle": "var(--oracle)"}
DASHES = {"baseline": "solid", "finetuned": "dash", "oracle": "dot"}
SHORT = {"baseline": "before", "finetuned": "after", "oracle": "truth"}
SCALE = "Viridis_r"
INK, MUTED = "var(--ink)", "var(--muted)"


class Chart(NamedTuple):
    """A chart with its title.

    Attributes:
        title: above the chart.
        figure: of Plotly.
    """

    title: str
    figure: go.Figure


class Section(NamedTuple):
    """A heading, an explanation and charts, which the page puts side by side if there is room.

    Attributes:
        title: the heading.
        text: how to read the charts, for a reader who has never seen such ones.
        charts: one or several.
    """

    title: str
    text: str
    charts: list[Chart]


def chart(title: str, traces: Sequence[Any], height: int = 330, **layout: Any) -> Chart:
    """Makes a chart in the common layout; colours and fonts come from the page's theme."""
    margin = dict(l=56, r=12, t=8, b=44)
    legend = dict(orientation="h", y=1.02, yanchor="bottom", x=0)
    figure = go.Figure(traces, dict(template="none", height=height, margin=margin, legend=legend) | layout)
    return Chart(title, figure)


def run_sections(
    folder: Path,
    metrics: Mapping[str, Any],
    epochs: int | None,
    world: World | None,
    plans: Mapping[str, Mapping[str, Plans]] | None,
    maps: Mapping[str, NDArray],
) -> list[Section]:
    """The sections of a run's report, from top to bottom; those without data are left out. Add a new one here.

    Args:
        folder: of the run.
        metrics: content of metrics.json.
        epochs: of finetuning; none if that is not known.
        world: from plans.npz; none if there is no such file.
        plans: from plans.npz, by model and way; none if there is no such file.
        maps: arrays of maps.npz; empty if there is no such file.
    """
    sections = [learning_section(metrics, epochs), training_section(folder)]
    if world:
        sections = [error_section(maps, world), cost_section(maps), horizon_section(plans, metrics), *sections]
    return [section for section in sections if section]


def error_section(maps: Mapping[str, NDArray], world: World) -> Section | None:
    """Heat maps of one-step errors over the arena, on one colour scale; none without such maps."""
    squared = {name: maps[f"errors/{name}"] for name in MODELS if f"errors/{name}" in maps}
    if not squared:
        return None
    x, y = ((ends[1:] + ends[:-1]) / 2 for ends in maps["errors/edges"])
    # The errors are means over two coordinates.
    distances = {name: np.sqrt(2 * errors) for name, errors in squared.items()}
    finite = np.concatenate([distance[np.isfinite(distance)] for distance in distances.values()])
    scale = dict(zmin=0.0, zmax=float(finite.max(initial=1e-6)))
    bar = dict(thickness=10, outlinewidth=0, nticks=5)
    charts = []
    for name, distance in distances.items():
        hover = "x %{x:.2f}, y %{y:.2f}<br>off by %{z:.2g}<extra></extra>"
        heat = go.Heatmap(x=x, y=y, z=distance, colorscale=SCALE, colorbar=bar, hovertemplate=hover, **scale)
        charts.append(chart(NAMES[name], [heat, *outline(world)], **square(world)))
    text = (
        "The error of the model after a single step from each position, for random actions (root mean square, in the "
        "world's units of length). Light colours are small errors, dark colours large ones. A model is inaccurate "
        "where its data is sparse, such as in contact with a wall, and planners exploit that."
    )
    return Section("One-step errors", text, charts)


def cost_section(maps: Mapping[str, NDArray]) -> Section | None:
    """Heat maps of the cost of one task's plans under each model, on one colour scale; none without such maps."""
    names = [name for name in MODELS if f"cost/{name}" in maps]
    if not names:
        return None
    (x, y), (low, high) = maps["cost/ticks"], decades([maps[f"cost/{name}"] for name in names])
    ticks = np.arange(np.ceil(low), np.floor(high) + 1)
    bar = dict(thickness=10, outlinewidth=0, tickvals=ticks, ticktext=[f"{10**tick:g}" for tick in ticks])
    charts = []
    for name in names:
        cost = maps[f"cost/{name}"]
        heat = go.Heatmap(
            x=x,
            y=y,
            z=np.log10(np.maximum(cost, 10.0 ** (low - 1))).astype(np.float32),
            customdata=cost,
            zmin=low,
            zmax=high,
            colorscale=SCALE,
            colorbar=bar,
            hovertemplate="cost %{customdata:.2g}<extra></extra>",
        )
        marks = [plan_mark(maps[f"cost/{other}/plan"], other, other == name) for other in names]
        axes = dict(showgrid=False, zeroline=False, showticklabels=False, ticks="", constrain="domain")
        layout = dict(xaxis=axes, yaxis=axes | dict(scaleanchor="x"), margin=dict(l=8, r=8, t=8, b=8))
        charts.append(chart(NAMES[name], [heat, *marks], **layout))
    text = (
        f"The cost that a planner minimises, for task {int(maps['cost/task'])}: each point is an action sequence, and "
        "its colour is the goal term of its cost. Light colours are low costs. The plane goes through the plans "
        "that the planner found with each model; the star is the model's own plan. If the star is on a light point, "
        "but the same point is dark under the true dynamics, the plan exploits errors of the model."
    )
    return Section("The planning cost", text, charts)


def horizon_section(plans: Mapping[str, Mapping[str, Plans]], metrics: Mapping[str, Any]) -> Section | None:
    """Lines of the error of open-loop plans by step; none if no learned model has such plans."""
    learned = {name: ways["open_loop"] for name, ways in plans.items() if "open_loop" in ways and name != "oracle"}
    if not learned:
        return None
    traces, longest = [], 0
    for name, executed_plans in learned.items():
        executed = executed_plans.executed.sum(0)
        error = np.where(executed_plans.executed, executed_plans.error, 0).sum(0) / np.maximum(executed, 1)
        longest = max(longest, len(error))
        line = dict(color=COLORS[name], dash=DASHES[name], width=2.5)
        traces.append(go.Scatter(x=np.arange(1, len(error) + 1), y=error, name=NAMES[name], line=line))
    first = next(iter(learned))
    expert_error = metrics.get(first, {}).get("expert_error")
    if expert_error:
        line = dict(color=MUTED, dash="dot")
        name = f"{NAMES[first]}, one step, held-out data"
        traces.append(go.Scatter(x=[1, longest], y=[expert_error, expert_error], mode="lines", line=line, name=name))
    axis = dict(type="log", title="mean squared error", exponentformat="power", dtick=1)
    text = "The error of the imagined states at each step of the plans, averaged over all tasks."
    layout = dict(xaxis=dict(title="step of the plan"), yaxis=axis, height=380)
    return Section("Error along the horizon", text, [chart("", traces, **layout)])


def learning_section(metrics: Mapping[str, Any], epochs: int | None) -> Section | None:
    """Lines of success and error by epoch of finetuning, on training and held-out tasks; none if not measured.

    Args:
        metrics: content of metrics.json.
        epochs: of finetuning; none if that is not known.
    """
    history = metrics.get("rollouts", [])
    if not history and not metrics.get("each_epoch"):
        return None
    held_out = [{"epoch": epoch, **gap["open_loop"]} for epoch, gap in held_out_by_epoch(metrics, epochs).items()]
    charts = []
    for key, title, axis in (
        ("success_rate", "success rate", dict(range=[-0.03, 1.03])),
        ("world_model_error", "error under planning (MSE)", dict(type="log", exponentformat="power", dtick=1)),
    ):
        traces = []
        # A line between two points would suggest measurements between them.
        for entries, name, color, mode in (
            (history, "new training tasks", "var(--executed)", "lines+markers"),
            (held_out, "held-out tasks", INK, "lines+markers" if len(held_out) > 2 else "markers"),
        ):
            if entries:
                x, y = [entry["epoch"] for entry in entries], [entry.get(key) for entry in entries]
                marker = dict(size=9, symbol="diamond-open" if entries is held_out else "circle")
                traces.append(
                    go.Scatter(x=x, y=y, name=name, mode=mode, marker=marker, line=dict(color=color), cliponaxis=False)
                )
        charts.append(chart(title, traces, xaxis=dict(title="epochs of finetuning"), yaxis=axis))
    text = "Open-loop plans made after each epoch: the share that reaches the goal, and the model's error along them."
    return Section("Finetuning", text, charts)


def training_section(folder: Path) -> Section | None:
    """Lines of the losses that Lightning's CSV logger wrote, by step; none if it did not log.

    Raises:
        UserError: a log is damaged.
    """
    logs = [here / "metrics.csv" for here, folders, files in walk(folder) if "metrics.csv" in (*folders, *files)]
    traces = []
    for table in [table for table in map(read_curves, sorted(logs)) if "step" in table]:
        steps = numbers(table["step"])
        for name in [name for name in table.columns if name.endswith(("loss", "expert_error"))]:
            values = numbers(table[name])
            logged = (values > 0) & np.isfinite(values) & np.isfinite(steps)
            if logged.sum() > 1:
                traces.append(go.Scatter(x=steps[logged], y=values[logged], name=literal(name), mode="lines"))
    if not traces:
        return None
    axes = dict(xaxis=dict(title="gradient step"), yaxis=dict(type="log", exponentformat="power", dtick=1))
    text = "The losses and validation errors logged during training."
    return Section("Training", text, [chart("", traces, height=400, **axes)])


def read_curves(path: Path) -> pd.DataFrame:
    """Reads the table of Lightning's CSV logger; empty if nothing was logged.

    Raises:
        UserError: the file is damaged.
    """
    try:
        text = read_text(path)
        require_bounded(text)
        return pd.read_csv(io.StringIO(text))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); delete it to have the report without it.") from error


def literal(text: str) -> str:
    """Text in a chart as it is, but shortened; Plotly takes words in angle brackets for styles and links."""
    return escape(printable(shortened(text)), quote=False)


def plan_mark(position: NDArray, name: str, own: bool) -> go.Scatter:
    """Marks the plan of a model in the plane of the slice; with a star in the slice of that model's own cost."""
    marker = dict(color="white", line=dict(color="black", width=1.5), symbol="star" if own else "circle")
    return go.Scatter(
        x=position[:1],
        y=position[1:],
        mode="markers+text",
        marker=marker | dict(size=17 if own else 10),
        text=[f"<b>{SHORT[name]}</b>"],
        textposition="top center",
        textfont=dict(color="white", shadow="0 0 3px black, 0 0 3px black, 0 0 6px black"),
        hovertemplate=f"the plan found with the model {NAMES[name]}<extra></extra>",
        showlegend=False,
    )


def decades(values: Sequence[NDArray]) -> tuple[float, float]:
    """Limits of a colour scale for all positive values, as exponents of ten: their 1 % and 99 % quantiles."""
    flat = np.concatenate([array.ravel() for array in values])
    positive = flat[np.isfinite(flat) & (flat > 0)]
    if not len(positive):
        return -12.0, 0.0
    low, high = np.log10(np.quantile(positive.astype(float), (0.01, 0.99)))
    return float(low), float(max(high, low + 0.1))


def outline(world: World) -> list[go.Scatter]:
    """Draws the world's outline as one trace."""
    gaps = np.full((len(world.outline), 1, 2), np.nan)
    x, y = np.concatenate((world.outline, gaps), 1).reshape(-1, 2).T
    line = dict(color=INK, width=2)
    return [go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)]


def square(world: World) -> dict[str, Any]:
    """The layout of axes of equal scale that end at the world's bounds."""
    points = world.outline.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    margin = 0.03 * (high - low)
    axes = [
        dict(range=[a, b], showgrid=False, zeroline=False, constrain="domain")
        for a, b in zip(low - margin, high + margin)
    ]
    return dict(xaxis=axes[0], yaxis=axes[1] | dict(scaleanchor="x"))
