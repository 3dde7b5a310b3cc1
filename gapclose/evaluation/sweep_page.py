"""The results of a sweep for the eye: tables, and a picture of all methods with their intervals."""

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from matplotlib import pyplot as plt

from gapclose.errors import UserError
from gapclose.evaluation.plots import ERROR, SUCCESS, save
from gapclose.evaluation.statistics import Estimate
from gapclose.evaluation.sweep_results import MEASURES, Setting
from gapclose.files import replacing

BEGIN, END = "<!-- generated from here -->", "<!-- to here -->"
CAPTION = (
    "means over tasks and seeds with 95 % intervals; λ = 0: the planner ignores disagreement; model error: MSE of the "
    "imagined states under open-loop planning; gap: its ratio to the error on held-out data; control: "
    "finetune=continue, as many gradient steps on the same data alone, on the same tasks and seeds; seconds: of a run"
)


def table_of(settings: list[Setting]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of the table, a row for each setting, scene by scene."""
    measures = [name for name in MEASURES if any(name in setting.estimates for setting in settings)]
    columns = [
        "scene", "method", "seeds", *measures, "success − control", "error / control",
        "gap", "simulator steps", "gradient steps", "seconds",
    ]  # fmt: skip
    rows = []
    for scene, members in by_scene(settings).items():
        for setting in members:
            estimates, counted, against = setting.estimates, setting.counts, setting.against_control
            row = [scene, label(setting), str(len(setting.seeds))]
            row += [interval(estimates.get(name), "{:.2g}" if name == "model error" else "{:.2f}") for name in measures]
            row += [interval(against.get("success"), "{:+.2f}"), interval(against.get("model error ratio"), "{:.2g}")]
            row += [count(counted[name]) for name in ("gap", "simulator_steps", "gradient_steps", "seconds")]
            rows.append(row)
    return columns, rows


def by_scene(settings: list[Setting]) -> dict[str, list[Setting]]:
    """The settings of each scene, which is put in words; the most successful ones first."""
    scenes: dict[str, list[Setting]] = {}
    for setting in sorted(settings, key=lambda setting: -setting.estimates["success"].mean):
        scenes.setdefault(", ".join(setting.scene.values()) or "all", []).append(setting)
    return dict(sorted(scenes.items()))


def label(setting: Setting) -> str:
    """The method in words. Adaptation concerns the column of adapted MPC alone."""
    values = {name: value for name, value in setting.method.items() if name not in ("finetune", "adaptation")}
    words = [" ".join([*name.split(".")[1:][-2:], value]) for name, value in values.items()]
    return ", ".join([*filter(None, [setting.method.get("finetune")]), *words]) or "default"


def interval(value: Estimate | None, form: str) -> str:
    """A mean with its interval."""
    if value is None:
        return "–"
    return f"{form.format(value.mean)} [{', '.join(form.format(end) for end in value[1:])}]"


def count(number: float) -> str:
    """A number of things."""
    return "–" if math.isnan(number) else f"{number:,.0f}"


def plot_methods(settings: list[Setting], path: Path) -> Path:
    """Success and model error of all methods with their intervals: a column for each scene, a line for each method."""
    scenes = by_scene(settings)
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
                # The true dynamics have no error, and a logarithm has no place for one.
                shown = [(place, value) for place, value in shown if axes is panels[0, column] or value.mean > 1e-9]
                means = [value.mean for _, value in shown]
                reach = [
                    [value.mean - value.low for _, value in shown],
                    [value.high - value.mean for _, value in shown],
                ]
                heights = [place + shift for place, _ in shown]
                style = dict(fmt=marker, color=color, capsize=2, markersize=4)
                axes.errorbar(means, heights, xerr=reach or None, label=title, **style)
            axes.grid(axis="x", alpha=0.3)
        panels[0, column].set(title=scene, xlim=(-0.03, 1.03), xlabel="success rate")
        panels[1, column].set(xscale="log", xlabel="model error under planning (MSE)")
    panels[0, 0].set_yticks(list(places.values()), list(places))
    panels[0, 0].set_ylim(0.4, len(methods) + 0.6)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)


def write_page(path: Path, settings: list[Setting]) -> None:
    """Puts tables and picture between the two marks of a Markdown page; what stands around them is left alone.

    Raises:
        UserError: there is such a page, but without the marks.
    """
    text = path.read_text() if path.exists() else f"# {path.stem}\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        raise UserError(f"{path} has no place for results; put the lines {BEGIN} and {END} where they belong.")
    picture = plot_methods(settings, path.with_suffix(".png"))
    before, rest = text.split(BEGIN, 1)
    parts = [before + BEGIN, f"![Success and model error of all methods]({picture.name})", *markdown(settings)]
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(parts) + f"\n\n{END}" + rest.split(END, 1)[1])


def markdown(settings: list[Setting]) -> Iterator[str]:
    """A heading and a table for each scene."""
    columns, rows = table_of(settings)
    for scene in by_scene(settings):
        lines = [columns[1:], ["---"] * (len(columns) - 1), *(row[1:] for row in rows if row[0] == scene)]
        yield f"### {scene}"
        yield "\n".join("| " + " | ".join(line) + " |" for line in lines)
    yield f"{CAPTION[0].upper()}{CAPTION[1:]}."
