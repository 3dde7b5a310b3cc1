"""The folder of a run: what it holds says whether the run is new, interrupted or finished."""

from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gapclose.errors import UserError

CHOICES = ("env", "model", "planner", "finetune")
"""The groups whose chosen options are part of the results."""


def run_dir(resume: str | None) -> str:
    """The Hydra run directory: that of the run to resume, or a new one named by the time."""
    if resume is not None and (Path(resume) / "config.yaml").is_file():
        return resume
    return f"outputs/{datetime.now():%Y-%m-%d_%H-%M-%S}"


OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)


def settle(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The configuration and the folder of the run that is asked for.

    With `resume=DIR` both are those of the run in DIR. Otherwise the folder is Hydra's; if it holds a run of the same
    configuration already, that run is gone on with.

    Raises:
        UserError: there is no run to resume, or other settings come along with `resume`, or the folder holds a run of
            another configuration.
    """
    if cfg.resume is not None:
        folder = Path(cfg.resume)
        if not (folder / "config.yaml").is_file():
            raise UserError(f"There is no run to resume in {folder}: it has no config.yaml; give the folder of a run.")
        others = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
        if others:
            raise UserError(f"resume takes all settings from {folder}; leave out {' '.join(others)}.")
        return OmegaConf.load(folder / "config.yaml"), folder
    folder = Path(HydraConfig.get().runtime.output_dir)
    config = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    config.choices = {group: HydraConfig.get().runtime.choices[group] for group in CHOICES}
    stored = folder / "config.yaml"
    if stored.exists() and OmegaConf.load(stored) != config:
        raise UserError(f"{folder} holds a run of another configuration; choose another folder with hydra.run.dir=DIR.")
    OmegaConf.save(config, stored)
    return config, folder
