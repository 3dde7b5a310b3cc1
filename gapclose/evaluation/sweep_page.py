"""The results of a sweep for the eye: tables, and a picture of all methods with their intervals."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib import pyplot as plt

from gapclose.errors import UserError
from gapclose.evaluation.plots import ERROR, SUCCESS, save
from gapclose.evaluation.statistics import Estimate
from gapclose.evaluation.sweep_results import MEASURES, Setting
from gapclose.files import replacing

BEGIN, END = "<!-- generated from here -->", "<!-- to here -->"
CAPTION = (
    "means over tasks and seeds with 95 % intervals; model error: MSE of the imagined states under open-loop planning; "
    "gap: its ratio to the error on expert data; control: "
    "as many gradient steps on expert data alone, same tasks and seeds"
)


def table_of(settings: list[Setting]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of the table, a row for each setting, scene by scene."""
    measures = [name for name in MEASURES if any(name in setting.estimates for setting in settings)]
    columns = [
        "scene", "method", "seeds", *measures, "success − control", "error − control",
        "gap", "simulator steps", "gradient steps", "seconds",
    ]  # fmt: skip
    rows = []
    for scene, members in by_scene(settings).items():
        for setting in members:
            estimates, counted = setting.estimates, setting.counts
            row = [scene, label(setting), str(len(setting.seeds))]
            row += [interval(estimates.get(name), "{:.2g}" if name == "model error" else "{:.2f}") for name in measures]
            row += [interval(setting.against_control.get("success"), "{:+.2f}"), relative_error(setting)]
            row += [f"{counted[name]:,.0f}" for name in ("gap", "simulator_steps", "gradient_steps", "seconds")]
            rows.append(row)
    return columns, rows


def by_scene(settings: list[Setting]) -> dict[str, list[Setting]]:
    """The settings of each scene, which is put in words."""
    scenes: dict[str, list[Setting]] = {}
    for setting in settings:
        scenes.setdefault(", ".join(setting.scene.values()) or "all", []).append(setting)
    return scenes


def label(setting: Setting) -> str:
    """The method in words."""
    values = dict(setting.method)
    return ", ".join(filter(None, (values.pop("finetune", ""), *values.values()))) or "default"


def interval(value: Estimate | None, form: str) -> str:
    """A mean with its interval."""
    if value is None:
        return "–"
    return f"{form.format(value.mean)} [{', '.join(form.format(end) for end in value[1:])}]"


def relative_error(setting: Setting) -> str:
    """How much larger the model error is than the control's, as a share of that."""
    difference = setting.against_control.get("model error")
    if difference is None:
        return "–"
    control = setting.estimates["model error"].mean - difference.mean
    return interval(Estimate(*(100 * value / control for value in difference)), "{:+.0f}") + " %"


def plot_methods(settings: list[Setting], path: Path) -> Path:
    """Success and model error of all methods with their intervals, a column for each scene."""
    scenes = by_scene(settings)
    most = max(map(len, scenes.values()))
    figure, panels = plt.subplots(
        2,
        len(scenes),
        figsize=(1.6 + 3.4 * len(scenes), 1.2 + 0.62 * most),
        squeeze=False,
        layout="constrained",
        sharex="row",
    )
    marks = {
        "success": ("open loop", "o", SUCCESS),
        "MPC success": ("MPC", "s", "#2a9d4a"),
        "model error": ("", "o", ERROR),
    }
    for column, (scene, members) in enumerate(scenes.items()):
        places = range(len(members), 0, -1)
        for axes, names in zip(panels[:, column], (("success", "MPC success"), ("model error",))):
            for shift, name in zip((0.12, -0.12) if len(names) > 1 else (0,), names):
                title, marker, color = marks[name]
                for place, setting in zip(places, members):
                    if value := setting.estimates.get(name):
                        reach = [[value.mean - value.low], [value.high - value.mean]]
                        axes.errorbar(
                            value.mean, place + shift, xerr=reach, fmt=marker, color=color, capsize=2, markersize=4,
                            label=title if setting is members[0] else None,
                        )  # fmt: skip
            axes.set_yticks(list(places), [label(setting) for setting in members] if column == 0 else [])
            axes.set_ylim(0.4, len(members) + 0.6)
            axes.grid(axis="x", alpha=0.3)
        panels[0, column].set_title(scene, fontsize=11)
        panels[0, column].set_xlim(-0.03, 1.03)
        panels[1, column].set_xscale("log")
        panels[0, column].set_xlabel("success rate")
        panels[1, column].set_xlabel("model error under planning (MSE)")
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
