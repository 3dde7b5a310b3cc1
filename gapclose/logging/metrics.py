"""Names of logged metrics, and the axis of each curve. The table of all of them is in docs/dashboards.md."""

from collections.abc import Mapping
from typing import Any

from gapclose.evaluation.tables import held_out_by_epoch, results
from gapclose.planning.execution import Execution

TRAINING = ("policy", "baseline", "finetune")
"""The stages of training, by the name of their LightningModule."""
AXES = {group: f"{group}/epoch" for group in (*TRAINING, "rollouts", "held_out")} | {"horizon": "horizon/step"}
"""The axis of each group of curves. Each group has its own, so that the epochs of two stages do not overlap."""
BEFORE_LEARNING = ("rollouts",)
"""Groups that are measured at the start of an epoch; all others are measured at its end."""
LAST_OF_EPOCH = "loss"
"""The metric that a stage of training logs at the end of an epoch, when its checkpoint is written."""
GOALS = {
    "finetune/expert_error": "min",
    "rollouts/success_rate": "max",
    "rollouts/goal_distance": "min",
    "rollouts/world_model_error": "min",
    "held_out/open_loop/success_rate": "max",
    "held_out/open_loop/world_model_error": "min",
}
"""Curves whose best value is shown in a table of runs, in addition to the last one."""
RESULT_COLUMNS = [
    "model",
    "executed",
    "success_rate",
    "success_low",
    "success_high",
    "goal_distance",
    "imagined_goal_distance",
    "world_model_error",
    "world_model_error_median",
    "world_model_error_q90",
    "left_world_rate",
    "train_test_gap",
    "planning_seconds",
]


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flattens nested metrics to numbers with names joined by slashes; a 95 % interval becomes `low` and `high`."""
    flat = {}
    for name, value in metrics.items():
        if name.endswith("_ci95"):
            value = dict(zip(("low", "high"), value))
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def epoch_row(metrics: Mapping[str, float], epoch: int) -> dict[str, float]:
    """Adds to the metrics of an epoch, for each group, the number of epochs completed when it was measured.

    Args:
        metrics: by name.
        epoch: its number, from 0.
    """
    groups = {name.partition("/")[0] for name in metrics} & AXES.keys()
    completed = {AXES[group]: epoch if group in BEFORE_LEARNING else epoch + 1 for group in groups}
    return {**metrics, **completed}


def held_out_rows(metrics: Mapping[str, Any], epochs: int) -> list[dict[str, float]]:
    """The results on held-out tasks before and after `epochs` of finetuning, as two points of the curves `held_out`.

    Empty if the curves already have them, because the model was evaluated after each epoch, or if there are no such
    results.
    """
    if "each_epoch" in metrics or not {"baseline", "finetuned"} <= metrics.keys():
        return []
    return [
        {
            **flatten({"expert_error": gap["expert_error"], "open_loop": gap["open_loop"]}, "held_out/"),
            AXES["held_out"]: epoch,
        }
        for epoch, gap in held_out_by_epoch(metrics, epochs).items()
    ]


def horizon_rows(executions: Mapping[str, Mapping[str, Execution]]) -> list[dict[str, float]]:
    """The mean error of the imagined states at each step of the open-loop plans, a curve for each learned model."""
    errors = {
        f"horizon/{model}": ways["open_loop"].squared_errors().nanmean(0).tolist()
        for model, ways in executions.items()
        if model != "oracle"
    }
    return [
        {**dict(zip(errors, at_step)), AXES["horizon"]: step} for step, at_step in enumerate(zip(*errors.values()), 1)
    ]


def result_rows(gaps: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Makes the cells under `RESULT_COLUMNS` as numbers, one row for each model and way to execute."""
    return [
        [model, way, result["success_rate"], *result["success_rate_ci95"]]
        + [result[name] for name in RESULT_COLUMNS[5:]]
        for model, way, result in results(gaps)
    ]
