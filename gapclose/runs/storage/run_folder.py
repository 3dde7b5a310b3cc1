"""The folder of a run: its name, its lock, its stored configuration, and whether the run in it is finished."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.overrides import NO_DIFFERENCE
from gapclose.renamed import with_present_names

CHOICES = ("env", "data", "model", "baseline", "planner", "adaptation", "finetune", "attack", "radii")
"""The groups whose chosen options are part of the results."""
COMPARISONS = "compare"
"""The folder below a run's with the results of the other planners that its models were evaluated with."""
COMPARISON_SETTINGS = ("compare", "compared")
"""Settings of train.py that name these planners. Nothing else in a run depends on them."""
MAX_NAME_BYTES = 200
"""Longest name of a job's folder; file systems allow 255 bytes."""


def config_and_folder(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The configuration and the folder of a run: with `resume=DIR` those of the run in DIR, otherwise Hydra's.

    Raises:
        UserError: there is no run to resume, or other settings come along with `resume`.
    """
    if cfg.get("resume") is not None:
        folder = Path(cfg.resume)
        if not (folder / "config.yaml").is_file():
            raise UserError(f"There is no run to resume in {folder}: it has no config.yaml; give the folder of a run.")
        others = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
        if others:
            raise UserError(f"resume takes all settings from {folder}; leave out {' '.join(others)}.")
        return stored_config(folder), folder
    config = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    choices = HydraConfig.get().runtime.choices
    config.choices = {group: choices[group] for group in CHOICES if group in choices}
    if choices.get("finetune") == "none":
        config.finetune = None  # In a sweep, `++finetune.epochs=4` is for the other modes.
    return config, Path(HydraConfig.get().runtime.output_dir)


def stored_config(folder: Path) -> DictConfig:
    """The `config.yaml` of a run, with the names that its classes and settings have today."""
    content = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    return OmegaConf.create(with_present_names(content))


def first_process() -> bool:
    """Whether this is the only process of a run, or the first of a distributed one.

    Reads the environment variables that Lightning reads, without importing Lightning, which takes seconds.
    """
    return all(
        os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    )


def finished(folder: Path, cfg: DictConfig) -> bool:
    """Whether the folder holds a finished run of train.py that has been evaluated with all planners of `compare`.

    Raises:
        UserError: it is one of another configuration, or `compare` is no list of planners.
    """
    if not (folder / "metrics.json").exists():
        return False
    config, stored = config_and_folder(cfg)[0], stored_config(folder)
    stored.pop("explorer", None)  # It follows from the rest.
    require_same_config(stored, config, folder, COMPARISON_SETTINGS)
    return not missing_comparisons(folder, compare_entries(config.compare) if config.compare is not None else ())


def job_folder(settings: str) -> str:
    """The name of a job's folder: its settings, with a hash where they are too long or no name for a file.

    It has no `=` and no comma, which a path on a command line would have to be quoted for.

    Args:
        settings: of the command line that make a difference, such as `model=mlp,seed=1`.
    """
    setting = r"\w[\w.]*=[\w.-]*"
    plain = re.fullmatch(f"({setting}(,{setting})*)?", settings, flags=re.ASCII)
    name = re.sub(r"[^\w.+-]", "_", settings.replace("=", "-").replace(",", "+"), flags=re.ASCII)
    if plain and len(name) <= MAX_NAME_BYTES:
        return name or "defaults"
    return f"{name[: MAX_NAME_BYTES - 9]}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def missing_comparisons(folder: Path, planners: Iterable[str]) -> list[str]:
    """The entries of `compare` whose planners the run in the folder has not been evaluated with."""
    return [entry for entry in planners if not (comparison_folder(folder, entry) / "metrics.json").exists()]


def comparison_folder(folder: Path, entry: str) -> Path:
    """The folder of a run's results with the planner of an entry of `compare`."""
    return folder / COMPARISONS / job_folder(",".join(entry_overrides(entry)))


def compare_entries(compare: Any) -> list[str]:
    """The entries of the setting `compare`.

    Raises:
        UserError: it is no list of planners, or names one twice.
    """
    listed = list(compare) if isinstance(compare, ListConfig) else []
    if not listed or not all(isinstance(entry, str) and entry.strip() for entry in listed):
        raise UserError(f"compare is {compare}; give a list of planners, such as compare=[gradient,cem].")
    listed = [" ".join(entry.split()) for entry in listed]
    if len(set(listed)) < len(listed):
        raise UserError(f"compare names a planner twice ({', '.join(listed)}); name each once.")
    return listed


def entry_overrides(entry: str) -> list[str]:
    """An entry of `compare` as settings on a command line."""
    name, *settings = entry.split()
    return [f"planner={name}", *settings]


def require_same_config(stored: DictConfig, config: DictConfig, folder: Path, may_differ: Sequence[str] = ()) -> None:
    """Compares the configuration that a folder holds with that of the run which is about to use it.

    Args:
        stored: the configuration in the folder.
        config: of the run.
        folder: for the error message.
        may_differ: settings to ignore, beside those that never change results.

    Raises:
        UserError: another setting differs.
    """
    stored, config = stored.copy(), config.copy()
    for either in (stored, config):
        for key in (*NO_DIFFERENCE, *may_differ):
            OmegaConf.update(either, key, None, merge=False)
    if stored != config:
        raise UserError(
            f"{folder} holds a run of another configuration; choose another hydra.run.dir=DIR, or hydra.sweep.dir=DIR."
        )


@contextmanager
def run_lock(folder: Path, config: DictConfig, may_differ: Sequence[str] = ()) -> Iterator[None]:
    """Locks the folder for this run and writes the run's `config.yaml` into it.

    Args:
        folder: of the run.
        config: of the run.
        may_differ: settings in which an earlier run in the folder may have differed.

    Raises:
        UserError: another run is at work in the folder, or it holds a run of another configuration.
    """
    if not first_process():  # The first process of a distributed run locks the folder for all of them.
        yield
        return
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(f"A run is at work in {folder}; wait for it, or choose another hydra.run.dir=DIR.") from error
    try:
        stored = folder / "config.yaml"
        if stored.exists():
            require_same_config(stored_config(folder), config, folder, may_differ)
        with replacing(stored) as temporary:
            OmegaConf.save(config, temporary)
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
