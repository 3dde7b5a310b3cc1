"""What a W&B run is called and what it belongs to; the same whenever the run is resumed."""

import json
import secrets
import shlex
from pathlib import Path
from typing import NamedTuple, Self

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gapclose.files import replacing
from gapclose.overrides import NO_DIFFERENCE, is_among, key_of

IGNORED_SETTINGS = (*NO_DIFFERENCE, "finetune", "model", "resume", "evaluation.models", "hydra")
"""Settings that are in the run's name already, or do not make it differ from others."""


class Identity(NamedTuple):
    """The arguments of `wandb.init` that tell one run from another.

    Attributes:
        id: of the W&B run.
        name: finetune mode and model, then what the command line sets.
        group: name of the sweep's folder; none of a single run.
        job_type: the finetune mode.
        tags: what was chosen: world, data, model, planner, finetune mode.
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
        """The identity of the run in a folder: the one that is kept there, or a new one, kept from now on."""
        path = folder / "wandb_run.json"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(cls.new(config)._asdict(), indent=2) + "\n")
        return cls(**json.loads(path.read_text()))

    @classmethod
    def new(cls, config: DictConfig) -> Self:
        """The identity of a run that starts now, from its configuration and Hydra's command line."""
        hydra, choices = HydraConfig.get(), config.choices
        overrides = list(hydra.overrides.task)
        # Choices and seed first: a name has 128 characters.
        settings = [text for text in overrides if not is_among(key_of(text), IGNORED_SETTINGS)]
        settings.sort(key=lambda text: "." in key_of(text))
        return cls(
            id=secrets.token_hex(4),
            name=" ".join([choices.finetune, choices.model, *settings])[:128],
            group=Path(hydra.sweep.dir).name if hydra.mode == RunMode.MULTIRUN else None,
            job_type=choices.finetune,
            tags=sorted({choices[group] for group in ("env", "data", "model", "planner", "finetune")}),
            notes=shlex.join(["python", "train.py", *overrides]),
        )
