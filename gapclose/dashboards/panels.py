"""The panels of workspace and report, by subject. `gapclose.logging` logs every metric in them.

To add a panel, add it to a `Part` in `parts`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wandb_workspaces.reports.v2 import (
    BarPlot,
    Config,
    LinePlot,
    MediaBrowser,
    ParallelCoordinatesPlot,
    ParallelCoordinatesPlotColumn,
    ScatterPlot,
    SummaryMetric,
)
from wandb_workspaces.reports.v2.interface import Panel

from gapclose.logging.metrics import AXES

SWEPT = ("choices.data", "choices.model", "choices.finetune", "choices.planner", "seed")
"""The default configuration keys in the parallel coordinates."""
SUCCESS, ERROR = "open_loop/success_rate", "open_loop/world_model_error"
ROLLOUT_ERRORS = ["world_model_error", "world_model_error_median"]


class Part(NamedTuple):
    """A section of panels.

    Attributes:
        title: of the section.
        text: how to read the panels.
        panels: of the section.
    """

    title: str
    text: str
    panels: list[Panel]


def parts(swept: Sequence[str] = SWEPT) -> list[Part]:
    """Makes all parts, the most important first.

    Args:
        swept: the configuration keys in the parallel coordinates.
    """
    return [
        Part(
            "The gap by epoch",
            "The model's error under planning, and how many times it exceeds the error on held-out data: before and "
            "after finetuning, or after every epoch with `evaluation.each_epoch=true`. Rollouts are plans for new "
            "training tasks, made before the model learns from them.",
            [
                curve("Model error under planning", "held_out", [ERROR, f"{ERROR}_median"], log_y=True),
                curve("Gap: model error / expert error", "held_out", ["open_loop/train_test_gap"], log_y=True),
                curve("Model error on rollouts", "rollouts", ROLLOUT_ERRORS, log_y=True),
                curve("Expert error: one step, held-out data", "held_out", ["expert_error"], log_y=True),
            ],
        ),
        Part(
            "Success",
            "Share of the held-out tasks whose plan ends at the goal, with Wilson's 95 % interval over tasks. Bars are "
            "means over the runs of a finetune mode with their standard error over runs.",
            [
                curve("Open-loop success", "held_out", [f"{SUCCESS}{end}" for end in ("", "_ci95/low", "_ci95/high")]),
                curve("Success on rollouts", "rollouts", ["success_rate"]),
                bars("Open-loop success", f"finetuned/{SUCCESS}", "choices.finetune"),
                bars("MPC success", "finetuned/mpc/success_rate", "choices.finetune"),
            ],
        ),
        Part(
            "Error along the horizon",
            "The error of the imagined states at each step of the open-loop plans.",
            [curve("Error along the horizon", "horizon", ["baseline", "finetuned"], log_y=True)],
        ),
        Part(
            "Methods and planners",
            "A good method lowers the error under planning and raises success; a lower error on held-out data alone is "
            "not enough.",
            [
                bars("Model error by finetune mode", f"finetuned/{ERROR}", "choices.finetune"),
                bars("Open-loop success by planner", f"finetuned/{SUCCESS}", "choices.planner"),
                bars("Planning seconds by planner", "finetuned/open_loop/planning_seconds", "choices.planner"),
                ScatterPlot(
                    title="Success against model error",
                    x=SummaryMetric(f"finetuned/{ERROR}"),
                    y=SummaryMetric(f"finetuned/{SUCCESS}"),
                    log_x=True,
                    range_y=(0, 1),
                ),
            ],
        ),
        Part(
            "The sweep",
            "Each line is a run: the varied settings and the results.",
            [
                ParallelCoordinatesPlot(
                    title="Varied settings, success and error",
                    columns=[
                        *(ParallelCoordinatesPlotColumn(Config(key)) for key in swept),
                        ParallelCoordinatesPlotColumn(SummaryMetric(f"finetuned/{SUCCESS}"), "success"),
                        ParallelCoordinatesPlotColumn(SummaryMetric(f"finetuned/{ERROR}"), "model error", log=True),
                    ],
                )
            ],
        ),
        Part(
            "Plans",
            "Executed open-loop plans for the same tasks, and the run's pictures: dashed as the model imagined them, "
            "solid as executed.",
            [
                MediaBrowser(title="Executed plans", media_keys=["plans/baseline", "plans/finetuned"]),
                MediaBrowser(title="Imagined and executed", media_keys=["pictures/plans"]),
            ],
        ),
        Part(
            "Training",
            "Losses are in units of the variance of a step: 1 is the loss of predicting no change.",
            [
                curve("Loss of the baseline", "baseline", ["loss"], log_y=True),
                curve("Loss of finetuning", "finetune", ["loss"], log_y=True),
                curve("Validation error of finetuning", "finetune", ["expert_error"], log_y=True),
            ],
        ),
    ]


def curve(title: str, group: str, names: Sequence[str], log_y: bool | None = None) -> LinePlot:
    """A line plot of metrics of a group over the axis of the group."""
    return LinePlot(title=title, x=AXES[group], y=[f"{group}/{name}" for name in names], log_y=log_y)


def bars(title: str, metric: str, key: str) -> BarPlot:
    """A bar plot of the mean of a result for each value of a configuration key, with its standard error over runs."""
    mean = {"groupby": Config(key), "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    return BarPlot(title=title, metrics=[metric], orientation="v", **mean)
