"""The settings of a command that belong to no group, such as `seed` and `data_dir`: their types and ranges.

Those of groups are checked by the classes that are built from them, whose imports take seconds.
"""

from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from gapclose.errors import UserError
from gapclose.setting_types import Seed

Count = Annotated[StrictInt, Field(ge=1, le=1024)]
Name = Annotated[StrictStr, Field(min_length=1, pattern=r"^[^\x00-\x1f]+$")]
"""Text such as a path. An empty one is that of an unset variable of the shell."""
Figure = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Part(BaseModel):
    """A part of the configuration; settings that it does not list are checked elsewhere."""

    model_config = ConfigDict(extra="ignore")


class Seeded(Part):
    """A group with a seed, which has to be an integer, as 1 and 1.0 would be different seeds."""

    seed: Seed


class Policy(Seeded):
    """The group `policy`."""

    network: dict[str, Any]
    training: dict[str, Any]


class PublishedFigures(Part):
    """Published figures of a model."""

    success_rate: Figure
    goal_distance: Figure
    world_model_error: Figure


class ModelSettings(Part):
    """Settings that a command may take from a checkpoint."""

    data: Seeded
    policy: Policy | None = None


class CommandSettings(ModelSettings):
    """Settings of all commands."""

    seed: Seed
    data_dir: Name
    num_threads: Count | None
    num_workers: Annotated[StrictInt, Field(ge=0, le=1024)] | None
    trainer: dict[str, Any]


class TrainSettings(CommandSettings):
    """Settings of train.py."""

    base_checkpoint: Name | None
    compile: StrictBool
    optimized_metric: Name | None = None
    logger: dict[str, Any] | None = None
    explorer: dict[str, Any] | None = None
    evaluation: Seeded
    published: dict[str, PublishedFigures] | None


class PlanSettings(CommandSettings):
    """Settings of plan.py."""

    checkpoint: Name | None
    compile: StrictBool
    num_tasks: Annotated[StrictInt, Field(ge=1)]
    device: Name


class DiagnoseSettings(CommandSettings):
    """Settings of `python -m gapclose.diagnose`."""

    num_tasks: Annotated[StrictInt, Field(ge=1)]
    device: Name


SETTINGS = {
    "train": TrainSettings,
    "plan": PlanSettings,
    "diagnose": DiagnoseSettings,
    "checkpoint": ModelSettings,
}
"""The settings of each command, and those that it takes from a checkpoint."""


def check_settings(config: DictConfig, command: str) -> None:
    """Checks the settings of a command, before any work.

    Args:
        config: configuration of the command.
        command: train, plan or diagnose; `checkpoint` checks what may come from one.

    Raises:
        UserError: a value is missing, of the wrong type or out of range.
    """
    try:
        SETTINGS[command].model_validate(OmegaConf.to_container(config))
    except ValidationError as error:
        problems = [describe_problem(problem["loc"], problem) for problem in error.errors()]
        raise UserError("; ".join(problems) + ".") from error


def describe_problem(place: tuple[int | str, ...], problem: Any) -> str:
    """Returns a phrase that names a setting, its value and what is expected, from an entry of pydantic's list."""
    key, message = ".".join(map(str, place)), f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    value = "null" if problem["input"] is None else f"{problem['input']!r:.60}"
    return f"{key} is {value}: {message}"
