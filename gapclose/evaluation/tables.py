"""What a run has found: metrics.json, a table, and a sentence."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gapclose.evaluation.statistics import Estimate, number

COLUMNS = ["model", "executed", "success [95 %]", "distance", "promised", "model error", "gap", "time"]
TITLES = {
    "open_loop": "open loop",
    "open_loop_policy_alone": "open loop, policy alone",
    "open_loop_without_disagreement": "open loop, λ = 0",
    "mpc": "MPC",
    "mpc_adapted": "MPC, adapted",
}
CAPTION = (
    "distance: to the goal at the end; promised: the same according to the model; model error: MSE of the imagined "
    "states under planning; gap: model error / error on held-out data; time: spent planning; λ = 0: the planner "
    "ignores disagreement"
)
COMPARISON_COLUMNS = [
    "planner", "executed", "success [95 %]", "distance", "promised", "exploitation", "calls / task", "time"
]  # fmt: skip
COMPARISON_CAPTION = (
    "distance: to the goal at the end; promised: the same according to the model; exploitation: how much farther than "
    "promised; calls: transitions that the model predicted or differentiated; time: spent planning all tasks"
)


def results_rows(gaps: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The cells under `COLUMNS`: a row for each model and way to execute.

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


def comparison_rows(planners: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The cells under `COMPARISON_COLUMNS`: a row for each planner and way to execute.

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
    """Name, way to execute in words, and metrics, for all there are."""
    for name, ways in by_name.items():
        for way, title in TITLES.items():
            if way in ways:
                yield name, title, ways[way]


def success(result: dict[str, Any]) -> str:
    """A success rate with its interval."""
    return format(Estimate.of(result, "success_rate", "success_rate_ci95"), ".2f")


def print_table(
    rows: list[list[str]],
    title: str,
    columns: Sequence[str] = COLUMNS,
    caption: str = CAPTION,
    console: Console | None = None,
    grouped: bool = True,
) -> None:
    """Prints rows of cells under columns; rows that begin alike stand together, if they are `grouped`."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", padding=(0, 0, 0, 1))
    for place, column in enumerate(columns):
        wrapped = {"max_width": 32, "overflow": "fold"} if place == 0 else {"no_wrap": True}
        table.add_column(column, justify="left" if place < 2 else "right", **wrapped)
    previous = None
    for row in rows:
        if grouped and previous not in (None, row[0]):
            table.add_section()
        table.add_row("" if grouped and row[0] == previous else row[0], *row[1:])
        previous = row[0]
    console = console or Console()
    # A file has no width to fit into, and a table that is cut is no use on a narrow terminal either.
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    if width > console.width or not console.is_terminal:
        console = Console(file=console.file, width=width, force_terminal=console.is_terminal)
    console.print(table)


def held_out_by_epoch(metrics: dict[str, Any], epochs: int | None) -> dict[int, dict[str, Any]]:
    """The gap on held-out tasks by how many epochs of finetuning had passed, as far as it was measured.

    Args:
        metrics: of `train.py`.
        epochs: of finetuning; none if that is not known, and so not when the finetuned model was measured.
    """
    ends = {0: metrics.get("baseline"), epochs: metrics.get("finetuned")}
    known = {epoch: gap for epoch, gap in ends.items() if gap and epoch is not None}
    between = {entry["epoch"]: entry for entry in metrics.get("each_epoch", [])}
    return dict(sorted((known | between).items()))


def what_changed(metrics: dict[str, Any]) -> str:
    """One sentence on what finetuning changed, for the metrics of `train.py`, as far as the models in them tell."""
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
    """The success rate of a model, in words."""
    return percent(gap[way]["success_rate"])


def percent(share: float) -> str:
    """A share, in words."""
    return f"{100 * share:.0f} %"


def change(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    """How a metric of open-loop plans changed, in words; of a model that diverged there is no percentage."""
    old, new = before["open_loop"][name], after["open_loop"][name]
    known = old and new is not None and math.isfinite(old) and math.isfinite(new)
    part = f" ({100 * (new - old) / old:+.1f} %)" if known else ""
    return f"from {number(old)} to {number(new)}{part}"


def published_rows(published: dict[str, dict[str, float]]) -> list[list[str]]:
    """Rows of `results_rows` for figures of others, which lack most columns."""
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
