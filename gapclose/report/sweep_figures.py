"""The charts of a sweep's report.

To add a picture, write a function that returns a `Section` of charts, or none if there is no data, and add it to
`sweep_sections`. The charts of a run's report are in `gapclose.report.figures`.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gapclose.csv_files import numbers
from gapclose.evaluation.statistics import Estimate
from gapclose.printable import shortened
from gapclose.report.figures import Section, chart, literal
from gapclose.sweeps.effects import SEED, crossed, pair_means, without_oracle
from gapclose.sweeps.results import Setting
from gapclose.sweeps.runs import Value
from gapclose.sweeps.table import best_first, full_name, text

MOST_MAPS = 3
"""How many pairs of keys have a heat map: those with the largest effects."""


def sweep_sections(
    settings: Sequence[Setting],
    main_effects: Mapping[str, Mapping[Value, Estimate]],
    table: pd.DataFrame,
    keys: list[str],
) -> list[Section]:
    """The sections of a sweep's report, from top to bottom; those without data are left out. Add a new one here.

    Args:
        settings: of the sweep.
        main_effects: on success, by key; the largest first.
        table: a row for each run, with its values and results.
        keys: the varied keys, and the seed if there are several.
    """
    sections = [
        outcome_section([(full_name(setting), setting.estimates) for setting in best_first(settings)]),
        effects_section(main_effects),
        parallel_section(table, keys),
        heat_section(without_oracle(settings), [key for key in main_effects if key != SEED]),
    ]
    return [section for section in sections if section]


def outcome_section(settings: Sequence[tuple[str, Mapping[str, Estimate]]]) -> Section:
    """Success and error of each setting with 95 % intervals, the best setting on top.

    Args:
        settings: names, which need not differ, and estimates by measure; the best setting first.
    """
    names = [literal(name) for name, _ in settings]
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
            # The true dynamics have no error, and a logarithmic axis cannot show zero.
            shown_estimates = {
                row: estimates[measure]
                for row, (_, estimates) in enumerate(settings)
                if measure in estimates and ("error" not in measure or estimates[measure].mean > 1e-9)
            }
            if not shown_estimates:
                continue
            values = shown_estimates.values()
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
                    y=list(shown_estimates),
                    error_x=bars,
                    mode="markers",
                    marker=marker,
                    name=way,
                    text=[f"{names[row]}: {value:.2g}" for row, value in shown_estimates.items()],
                    hovertemplate="%{text}",
                )
            )
        error = "error" in title
        x_axis = dict(type="log", exponentformat="power", dtick=1) if error else dict(range=[-0.03, 1.03])
        y_axis = dict(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], zeroline=False)
        height = 110 + 30 * max(len(names), 3)
        charts.append(chart(title, traces, height=height, xaxis=x_axis, yaxis=y_axis))
    return Section(
        "Results by setting", "Means over tasks and seeds with 95 % intervals, the best setting on top.", charts
    )


def effects_section(main_effects: Mapping[str, Mapping[Value, Estimate]]) -> Section | None:
    """The main effects on success as lines, one for each key; none if only one key has an effect."""
    if len(main_effects) < 2:
        return None
    traces = []
    for key, effect in reversed(main_effects.items()):
        line = dict(color="var(--executed)", width=3)
        traces.append(
            go.Scatter(
                x=[value.mean for value in effect.values()],
                y=[literal(key)] * len(effect),
                mode="lines+markers",
                line=line,
                marker=dict(size=9),
                text=[f"{literal(f'{key}={value}')}: {estimate:.2f}" for value, estimate in effect.items()],
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
            )
        )
    words = (
        "Success with each value of a setting, over runs that agree in everything else: the longer the line, the "
        "larger the effect. An effect no larger than that of the seed may be due to chance."
    )
    height = 90 + 44 * len(main_effects)
    layout = dict(xaxis=dict(title="success rate", range=[-0.03, 1.03]), yaxis=dict(automargin=True), height=height)
    return Section("Main effects", words, [chart("", traces, **layout)])


def parallel_section(table: pd.DataFrame, keys: list[str]) -> Section | None:
    """Parallel coordinates over all varied keys, a line for each run; none if only one key varies."""
    if len(keys) < 2:
        return None
    dimensions = []
    for key in keys:
        values = ordered(table[key])
        codes = as_text(table[key]).map({value: code for code, value in enumerate(values)})
        ticks = dict(tickvals=list(range(len(values))), ticktext=list(map(shortened, values)))
        dimensions.append(dict(label=literal(key), values=codes, range=[-0.2, len(values) - 0.8], **ticks))
    dimensions.append(dict(label="success", values=table["success"], range=[0, 1]))
    error = pd.to_numeric(table["model error"], errors="coerce")
    if (error > 0).all():
        dimensions.append(dict(label="log₁₀ error", values=np.log10(error)))
    scale = [[0, "var(--imagined)"], [1, "var(--executed)"]]
    line = dict(color=table["success"], colorscale=scale, cmin=0, cmax=1)
    trace = go.Parcoords(dimensions=dimensions, line=line, labelangle=-25, unselected=dict(line=dict(opacity=0.06)))
    margin = dict(l=110, r=50, t=90, b=20)
    words = (
        "A line for each run, from its settings to its results; blue is success, orange failure. Drag along an "
        "axis to select the runs that cross it there."
    )
    return Section("All runs", words, [chart("", [trace], height=420, margin=margin)])


def heat_section(settings: Sequence[Setting], keys: Sequence[str]) -> Section | None:
    """Heat maps of mean success by pairs of keys; none if no two keys were varied against each other.

    Args:
        settings: of learned models.
        keys: the keys that have a main effect, the largest first.
    """
    pairs = [pair for pair in combinations(keys, 2) if crossed(settings, *pair)]
    charts = []
    for x, y in pairs[:MOST_MAPS]:
        means = pair_means(settings, y, x, "success")
        heat = go.Heatmap(
            x=[literal(text(value)) for value in means.columns],
            y=[literal(text(value)) for value in means.index],
            z=means.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale="Viridis",
            texttemplate="%{z:.2f}",
            colorbar=dict(thickness=10, outlinewidth=0),
            hovertemplate=f"{literal(x)}=%{{x}}, {literal(y)}=%{{y}}: %{{z:.2f}}<extra></extra>",
        )
        axes = dict(
            xaxis=dict(title=literal(x), type="category"),
            yaxis=dict(title=literal(y), type="category", automargin=True),
        )
        charts.append(chart(f"{x} and {y}", [heat], height=140 + 40 * max(len(means), 3), **axes))
    if not charts:
        return None
    words = (
        "Mean success for each pair of values of two settings, over all finished runs. Light colours are high success."
    )
    return Section("Pairs of settings", words, charts)


def ordered(values: pd.Series) -> list[str]:
    """The distinct values of a key as text: numbers by size, words by the alphabet."""
    texts = as_text(values).unique()
    sizes = numbers(pd.Series(texts))
    return sorted(texts) if sizes.isna().any() else [texts[i] for i in sizes.argsort()]


def as_text(values: pd.Series) -> pd.Series:
    """Converts values of a key to text; a dash for runs that do not have the key."""
    return values.map(text)
