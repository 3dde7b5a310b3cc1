"""The charts of a sweep's report."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gapclose.evaluation.statistics import Estimate
from gapclose.report.figures import Section, chart
from gapclose.sweeps.effects import crossed, pair_means
from gapclose.sweeps.results import Setting
from gapclose.sweeps.runs import Value
from gapclose.sweeps.table import text

MOST_MAPS = 3
"""How many pairs of settings have a heat map: those that matter most."""


def outcome_section(settings: Sequence[tuple[str, Mapping[str, Estimate]]]) -> Section:
    """Success and error of each setting with their 95 % intervals, the best setting on top.

    Args:
        settings: their names, which may be equal, and estimates by measure; the best one first.
    """
    names = [name for name, _ in settings]
    shown = {
        "success": [
            ("success", "open loop", "circle", "var(--executed)"),
            ("MPC success", "MPC", "square", "var(--goal)"),
        ],
        "error under planning (MSE)": [("model error", "open loop", "circle", "var(--imagined)")],
    }
    charts = []
    for title, measures in shown.items():
        traces = []
        for measure, way, symbol, color in measures:
            # The true dynamics have no error, and a logarithm has no place for one.
            known = {
                place: estimates[measure]
                for place, (_, estimates) in enumerate(settings)
                if measure in estimates and ("error" not in measure or estimates[measure].mean > 1e-9)
            }
            if not known:
                continue
            values = known.values()
            bars = dict(
                type="data",
                symmetric=False,
                array=[value.high - value.mean for value in values],
                arrayminus=[value.mean - value.low for value in values],
            )
            marker = dict(symbol=symbol, color=color, size=9)
            traces.append(
                go.Scatter(
                    x=[value.mean for value in values],
                    y=list(known),
                    error_x=bars,
                    mode="markers",
                    marker=marker,
                    name=way,
                    text=[f"{names[place]}: {value:.2g}" for place, value in known.items()],
                    hovertemplate="%{text}",
                )
            )
        error = "error" in title
        x_axis = dict(type="log", exponentformat="power", dtick=1) if error else dict(range=[-0.03, 1.03])
        y_axis = dict(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], zeroline=False)
        height = 110 + 30 * max(len(names), 3)
        charts.append(chart(title, traces, height=height, xaxis=x_axis, yaxis=y_axis))
    return Section(
        "What came of it", "Means over tasks and seeds with 95 % intervals, the best setting on top.", charts
    )


def effects_section(found: Mapping[str, Mapping[Value, Estimate]]) -> Section | None:
    """How far apart the values of each setting are, as `effects` has found; none where a single one varies."""
    if len(found) < 2:
        return None
    traces = []
    for key, effect in reversed(found.items()):
        line = dict(color="var(--executed)", width=3)
        traces.append(
            go.Scatter(
                x=[value.mean for value in effect.values()],
                y=[key] * len(effect),
                mode="lines+markers",
                line=line,
                marker=dict(size=9),
                text=[f"{key}={value}: {estimate:.2f}" for value, estimate in effect.items()],
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
            )
        )
    words = (
        "Success with each value of a setting, over runs that are alike in everything else: the longer the line, the "
        "more the setting matters. What is no longer than the line of the seeds may be chance."
    )
    height = 90 + 44 * len(found)
    layout = dict(xaxis=dict(title="success rate", range=[-0.03, 1.03]), yaxis=dict(automargin=True), height=height)
    return Section("What matters", words, [chart("", traces, **layout)])


def parallel_section(table: pd.DataFrame, keys: list[str]) -> Section | None:
    """Parallel coordinates over all that varies, a line for each run; none where a single setting varies."""
    if len(keys) < 2:
        return None
    dimensions = []
    for key in keys:
        values = ordered(table[key])
        codes = as_text(table[key]).map({value: code for code, value in enumerate(values)})
        ticks = dict(tickvals=list(range(len(values))), ticktext=values)
        dimensions.append(dict(label=key, values=codes, range=[-0.2, len(values) - 0.8], **ticks))
    dimensions.append(dict(label="success", values=table["success"], range=[0, 1]))
    error = pd.to_numeric(table["model error"], errors="coerce")
    if (error > 0).all():
        dimensions.append(dict(label="log₁₀ error", values=np.log10(error)))
    scale = [[0, "var(--imagined)"], [1, "var(--executed)"]]
    line = dict(color=table["success"], colorscale=scale, cmin=0, cmax=1)
    trace = go.Parcoords(dimensions=dimensions, line=line, labelangle=-25, unselected=dict(line=dict(opacity=0.06)))
    margin = dict(l=110, r=50, t=90, b=20)
    words = (
        "A line for each run, from what was set to what came of it; blue is success, orange failure. Drag along an "
        "axis to see only the runs that pass there."
    )
    return Section("Every run", words, [chart("", [trace], height=420, margin=margin)])


def heat_section(settings: Sequence[Setting], keys: Sequence[str]) -> Section | None:
    """Mean success by two settings at once; none where no two were varied against each other.

    Args:
        settings: of learned models.
        keys: the settings that have a main effect; what matters most comes first.
    """
    pairs = [pair for pair in combinations(keys, 2) if crossed(settings, *pair)]
    charts = []
    for x, y in pairs[:MOST_MAPS]:
        means = pair_means(settings, y, x, "success")
        heat = go.Heatmap(
            x=[text(value) for value in means.columns],
            y=[text(value) for value in means.index],
            z=means.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale="Viridis",
            texttemplate="%{z:.2f}",
            colorbar=dict(thickness=10, outlinewidth=0),
            hovertemplate=f"{x}=%{{x}}, {y}=%{{y}}: %{{z:.2f}}<extra></extra>",
        )
        axes = dict(xaxis=dict(title=x, type="category"), yaxis=dict(title=y, type="category", automargin=True))
        charts.append(chart(f"{x} and {y}", [heat], height=140 + 40 * max(len(means), 3), **axes))
    if not charts:
        return None
    words = "Mean success by two settings at once, over all else that has finished. Light is success."
    return Section("Two at a time", words, charts)


def ordered(values: pd.Series) -> list[str]:
    """The different values of a setting as text: numbers by size, words by the alphabet."""
    texts = as_text(values).unique()
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
    return sorted(texts) if numbers.isna().any() else [texts[i] for i in numbers.argsort()]


def as_text(values: pd.Series) -> pd.Series:
    """Values of a setting as text; a dash for runs that have no such setting."""
    return values.map(text)
