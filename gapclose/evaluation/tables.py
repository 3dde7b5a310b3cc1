"""The results of a run in words: tables for the terminal and a sentence. Sweeps are in `gapclose.sweeps.table`."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gapclose.evaluation.metrics_file import TITLES
from gapclose.evaluation.statistics import Estimate, number
from gapclose.printable import printable

COLUMNS = ["model", "executed", "success [95 %]", "distance", "promised", "model error", "gap", "time"]
CAPTION = (
    "distance: to the goal at the end; promised: the same according to the model; model error: MSE of the imagined "
    "states under planning; gap: model error / error on held-out data; time: spent planning; λ = 0: the planner "
    "ignores disagreement"
)
ERROR_COLUMNS = ["model", "executed", "mean", "median", "90 %", "outside"]
ERROR_CAPTION = (
    "MSE of the imagined states of each plan: mean, median and 90 % quantile over the tasks; outside: share of plans "
    "in which the model imagines states outside the world"
)
COMPARISON_COLUMNS = [
    "planner", "executed", "success [95 %]", "distance", "promised", "exploitation", "calls / task", "time"
]  # fmt: skip
COMPARISON_CAPTION = (
    "distance: to the goal at the end; promised: the same according to the model; exploitation: how much farther than "
    "promised; calls: transitions that the model predicted or differentiated; time: spent planning all tasks"
)


def results_rows(gaps: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Makes the cells under `COLUMNS`, one row for each model and way to execute.

    Args:
        gaps: for each model, its gap as returned by `measure_gap`.
    """
    rows = []
    for model, way, result in results(gaps):
        error, ratio = result["world_model_error"], result["train_test_gap"]
        rows.append(
            [
                model,
                way,
                success(result),
                number(result["goal_distance"], ".3f"),
                number(result["imagined_goal_distance"], ".3f"),
                number(error),
                number(ratio, ",.0f" if ratio is not None and ratio < 1e6 else ".1e"),
                f"{result['planning_seconds']:.1f} s",
            ]
        )
    return rows


def error_rows(gaps: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Makes the cells under `ERROR_COLUMNS`, one row for each learned model and way to execute.

    Args:
        gaps: as in `results_rows`.
    """
    names = ("world_model_error", "world_model_error_median", "world_model_error_q90")
    return [
        [model, way, *(number(result.get(name)) for name in names), number(result.get("left_world_rate"), ".2f")]
        for model, way, result in results(gaps)
        if model != "oracle"
    ]


def comparison_rows(planners: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Makes the cells under `COMPARISON_COLUMNS`, one row for each planner and way to execute.

    Args:
        planners: for each planner its results, as returned by `compare`.
    """
    return [
        [
            planner,
            way,
            success(result),
            number(result["goal_distance"], ".3f"),
            number(result["imagined_goal_distance"], ".3f"),
            number(result["exploitation"], "z.3f"),
            f"{result['model_calls'] / result['num_tasks']:,.0f}",
            f"{result['planning_seconds']:.2f} s",
        ]
        for planner, way, result in results(planners)
    ]


def results(by_name: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields name, way to execute in words, and metrics."""
    for name, ways in by_name.items():
        for way, title in TITLES.items():
            if way in ways:
                yield name, title, ways[way]


def success(result: dict[str, Any]) -> str:
    """Formats a success rate with its interval."""
    return format(Estimate.of(result, "success_rate", "success_rate_ci95"), ".2f")


def print_table(
    rows: list[list[str]],
    title: str,
    columns: Sequence[str] = COLUMNS,
    caption: str = CAPTION,
    console: Console | None = None,
    grouped: bool = True,
) -> None:
    """Prints a table; if `grouped`, successive rows with the same first cell form a section."""
    table = Table(
        title=literal(title, "table.title"),
        title_justify="left",
        caption=literal(caption, "table.caption"),
        caption_justify="left",
        padding=(0, 0, 0, 1),
    )
    for index, column in enumerate(columns):
        wrapped = {"max_width": 32, "overflow": "fold"} if index == 0 else {"no_wrap": True}
        table.add_column(literal(column), justify="left" if index < 2 else "right", **wrapped)
    previous = None
    for row in rows:
        if grouped and previous not in (None, row[0]):
            table.add_section()
        table.add_row(*map(literal, ["" if grouped and row[0] == previous else row[0], *row[1:]]))
        previous = row[0]
    console = console or Console()
    # A file has no width to fit into, and on a narrow terminal a cut table is useless, too.
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    if width > console.width or not console.is_terminal:
        console = Console(file=console.file, width=width, force_terminal=console.is_terminal)
    console.print(table)


def print_errors(gaps: dict[str, dict[str, Any]]) -> None:
    """Prints how the errors of plans are spread over the tasks; nothing for true dynamics, which have none."""
    rows = error_rows(gaps)
    if rows:
        print_table(rows, "Errors of the imagined states", ERROR_COLUMNS, ERROR_CAPTION)


def literal(text: str, style: str = "") -> Text:
    """Text to print as it is; in plain strings, Rich takes words in brackets for styles, or in colons for emoji."""
    return Text(printable(text), style)


def held_out_by_epoch(metrics: dict[str, Any], epochs: int | None) -> dict[int, dict[str, Any]]:
    """The measured gaps on held-out tasks by number of completed epochs of finetuning.

    Args:
        metrics: of `train.py`.
        epochs: number of epochs of finetuning; if none, the epoch of the finetuned model is unknown and it is left out.
    """
    ends = {0: metrics.get("baseline"), epochs: metrics.get("finetuned")}
    known = {epoch: gap for epoch, gap in ends.items() if gap and epoch is not None}
    between = {entry["epoch"]: entry for entry in metrics.get("each_epoch", [])}
    return dict(sorted((known | between).items()))


def what_changed(metrics: dict[str, Any]) -> str:
    """Describes in one sentence what finetuning changed, from the metrics of `train.py` and the models in them."""
    before, after, oracle = (metrics.get(name, {}) for name in ("baseline", "finetuned", "oracle"))
    truth = f"with the true dynamics the same planner reaches {reached(oracle)}" if oracle else ""
    if before and after:
        truth = f"; with the true dynamics: {reached(oracle)}" if oracle else ""
        return (
            f"Finetuning ({metrics['finetune']}) took open-loop success from {reached(before)} to {reached(after)} "
            f"(MPC: from {reached(before, 'mpc')} to {reached(after, 'mpc')}{truth}), "
            f"the model's error under planning {change(before, after, 'world_model_error')} and the distance to the "
            f"goal {change(before, after, 'goal_distance')}."
        )
    if before:
        what = f"Perfect on paper (error {number(before['expert_error'], '.1g')} on held-out data), the model errs by"
    elif after:
        what = f"After finetuning ({metrics['finetune']}) the model errs by"
    else:
        return f"{truth[0].upper()}{truth[1:]} of the goals."
    model = before or after
    return (
        f"{what} {number(model['open_loop']['world_model_error'])} under planning and reaches {reached(model)} of "
        f"the goals{truth and f'; {truth}'}."
    )


def reached(gap: dict[str, Any], way: str = "open_loop") -> str:
    """Formats the success rate of a model as a percentage."""
    return percent(gap[way]["success_rate"])


def percent(share: float) -> str:
    """Formats a share as a percentage."""
    return f"{100 * share:.0f} %"


def change(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    """Describes how a metric of open-loop plans changed; without a percentage for a model that diverged."""
    old, new = before["open_loop"][name], after["open_loop"][name]
    finite = old and new is not None and math.isfinite(old) and math.isfinite(new)
    part = f" ({100 * (new - old) / old:+.1f} %)" if finite else ""
    return f"from {number(old)} to {number(new)}{part}"


def published_rows(published: dict[str, dict[str, float]]) -> list[list[str]]:
    """Makes rows like `results_rows` for published figures, which lack most columns."""
    rows = []
    for model, figures in published.items():
        cells = {"success [95 %]": ("success_rate", ".2f"), "distance": ("goal_distance", ".3f")}
        cells |= {"model error": ("world_model_error", ".2g")}
        row = ["published", model]
        row += [
            format(figures[cells[column][0]], cells[column][1]) if column in cells else "" for column in COLUMNS[2:]
        ]
        rows.append(row)
    return rows
