"""The identifier, name, group and tags of a W&B run; they stay the same when the run is resumed."""

import json
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple, Self

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pydantic import TypeAdapter

from gapclose.command_lines import train_command
from gapclose.errors import UserError
from gapclose.files import is_there, read_text, write_text
from gapclose.overrides import NEUTRAL_SETTINGS, is_among, key_of

IGNORED_SETTINGS = (*NEUTRAL_SETTINGS, "finetune", "model", "resume", "evaluation.models", "hydra")
"""Settings that are left out of a run's name: it has them already, or they do not distinguish runs."""


class Identity(NamedTuple):
    """The arguments of `wandb.init` that identify a run.

    Attributes:
        id: of the W&B run.
        name: finetune mode, model and the settings of the command line.
        group: name of the sweep's folder; none for a single run.
        job_type: the finetune mode.
        tags: chosen options: environment, data, model, planner, finetune mode.
        notes: the command.
    """

    id: str
    name: str
    group: str | None
    job_type: str
    tags: list[str]
    notes: str

    @classmethod
    def of(cls, folder: Path, config: DictConfig) -> Self:
        """Reads the identity stored in a run's folder, or makes a new one and stores it there.

        Raises:
            UserError: the stored one is damaged.
        """
        path = folder / "wandb_run.json"
        if not is_there(path):
            write_text(path, json.dumps(cls.new(config)._asdict(), indent=2) + "\n")
        try:
            stored = TypeAdapter(cls).validate_json(read_text(path), strict=True)
            if not re.fullmatch(r"[0-9a-f]{8}", stored.id):
                raise ValueError("id is not of eight hexadecimal digits")
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{path} is damaged, so the run cannot go on in W&B; delete it, and the run becomes a new one there."
            ) from error
        return stored

    @classmethod
    def new(cls, config: DictConfig) -> Self:
        """Makes the identity of a new run from its configuration and Hydra's command line.

        What the user sets in the environment variables of W&B comes first: its arguments would hide them.
        """
        hydra, choices = HydraConfig.get(), config.choices
        overrides = list(hydra.overrides.task)
        # Options of groups and the seed come first, because a name is cut after 128 characters.
        settings = [override for override in overrides if not is_among(key_of(override), IGNORED_SETTINGS)]
        settings.sort(key=lambda override: "." in key_of(override))
        tags = os.environ.get("WANDB_TAGS", "").split(",")
        group = Path(hydra.sweep.dir).name if hydra.mode == RunMode.MULTIRUN else None
        return cls(
            id=secrets.token_hex(4),
            name=os.environ.get("WANDB_NAME") or " ".join([choices.finetune, choices.model, *settings])[:128],
            group=os.environ.get("WANDB_RUN_GROUP") or group,
            job_type=os.environ.get("WANDB_JOB_TYPE") or choices.finetune,
            tags=[tag.strip() for tag in tags if tag.strip()]
            or sorted({choices[group] for group in ("env", "data", "model", "planner", "finetune")}),
            notes=os.environ.get("WANDB_NOTES") or train_command(*overrides),
        )
