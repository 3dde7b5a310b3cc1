"""The schema of metrics.json of train.py: what it writes, and what tables and reports read.

Files of earlier versions may lack what is not required here, and those of later ones may have more.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gapclose.files import finite, write_json

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Maybe = Annotated[float, Field(strict=True)] | None
"""A number; null where it was infinite or not a number, which JSON cannot represent, but Python can read."""
Rate = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Seconds = Annotated[Number, Field(ge=0)]
Text = Annotated[str, Field(strict=True)]
MODELS = ("baseline", "finetuned", "oracle")
"""The models of a run, in the order of display."""
TITLES = {
    "open_loop": "open loop",
    "open_loop_policy_alone": "open loop, policy alone",
    "open_loop_without_disagreement": "open loop, λ = 0",
    "mpc": "MPC",
    "mpc_adapted": "MPC, adapted",
}
"""The ways to execute a model's plans, in the order of display, and their titles."""


class Part(BaseModel):
    """A part of the file. The defaults only mark what may be missing."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Executed(Part):
    """The results of a model's plans, executed in one way; see `gapclose.evaluation.gap.evaluate`."""

    train_test_gap: Maybe
    planner: Text = ""
    num_tasks: Annotated[Count, Field(ge=1)] = 1
    success_rate: Rate = 0.0
    success_rate_ci95: tuple[Maybe, Maybe] = (None, None)
    goal_distance: Maybe = None
    imagined_goal_distance: Maybe = None
    exploitation: Maybe = None
    world_model_error: Maybe = None
    world_model_error_median: Maybe = None
    world_model_error_q90: Maybe = None
    left_world_rate: Rate | None = None
    model_calls: Count = 0
    planning_seconds: Seconds = 0.0
    adaptation_seconds: Seconds = 0.0


class Gap(Part):
    """The results of a model; see `gapclose.evaluation.gap.measure_gap`."""

    expert_error: Maybe
    open_loop: Executed
    disagreement_weight: Maybe = None
    open_loop_policy_alone: Executed = None
    open_loop_without_disagreement: Executed = None
    mpc: Executed = None
    mpc_adapted: Executed = None


class AfterEpoch(Gap):
    """The results after an epoch of finetuning."""

    epoch: Count


class Rollouts(Part):
    """The results of the plans that an epoch of finetuning learned from."""

    epoch: Count
    success_rate: Rate
    world_model_error: Maybe
    goal_distance: Maybe = None
    world_model_error_median: Maybe = None
    world_model_error_q90: Maybe = None
    left_world_rate: Rate | None = None
    simulator_steps: Count = 0


class Published(Part):
    """Published figures of a model."""

    success_rate: Number
    goal_distance: Number
    world_model_error: Number


class Metrics(Part):
    """Content of metrics.json."""

    finetune: Text
    seed: Count
    env: Text = ""
    data: Text = ""
    model: Text = ""
    wall_clock_seconds: Seconds = 0.0
    versions: dict[Text, Text] = {}
    commit: Text | None = None
    baseline: Gap = None
    finetuned: Gap = None
    oracle: Gap = None
    gradient_steps: Count = 0
    simulator_steps: Count = 0
    rollouts: list[Rollouts] = []
    each_epoch: list[AfterEpoch] = []
    published: dict[Text, Published] = {}
    paired: dict[Text, Any] = {}


def check_metrics(metrics: dict[str, Any]) -> None:
    """Checks that metrics are those of a run of train.py.

    Raises:
        ValueError: a value is missing, of the wrong type or out of range; the message says which one.
    """
    try:
        Metrics.model_validate(metrics)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            raise ValueError(f"{place} is missing") from error
        message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
        raise ValueError(f"{place or 'it'} is {problem['input']!r:.60}: {message}") from error


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Writes metrics.json, atomically.

    Raises:
        ValueError: the metrics are not as the schema says, which is a defect.
    """
    check_metrics(finite(metrics))
    write_json(path, metrics)


def ways_of(gap: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results of a model by way to execute."""
    return {way: gap[way] for way in TITLES if way in gap}
