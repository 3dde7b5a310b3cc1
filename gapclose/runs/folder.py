"""The folder of a run: what it holds says whether the run is new, interrupted or finished."""

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

CHOICES = ("env", "data", "model", "baseline", "planner", "adaptation", "finetune", "attack", "radii")
"""The groups whose chosen options are part of the results."""
RIVALS = "compare"
"""Where a run leaves what it has found with other planners."""
FURTHER = ("compare", "rivals")
"""Settings of train.py that say with which other planners; the rest of a run is the same whatever they are."""
LONGEST = 200
"""Bytes of a folder's name, of which file systems allow 255."""


def settle(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The configuration and the folder of the run that is asked for.

    With `resume=DIR` both are those of the run in DIR. Otherwise the folder is Hydra's.

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
        return OmegaConf.load(folder / "config.yaml"), folder
    config = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    choices = HydraConfig.get().runtime.choices
    config.choices = {group: choices[group] for group in CHOICES if group in choices}
    if choices.get("finetune") == "none":
        config.finetune = None  # In a sweep, `++finetune.epochs=4` is for the other modes.
    return config, Path(HydraConfig.get().runtime.output_dir)


def first_process() -> bool:
    """Whether this is the only process of a run, or the first of a distributed one.

    By the variables that Lightning goes by, without importing it, which takes seconds.
    """
    return all(
        os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    )


def finished(folder: Path, cfg: DictConfig) -> bool:
    """Whether the folder holds a run of train.py that has finished, with all planners that it is to be evaluated with.

    Raises:
        UserError: it is one of another configuration, or `compare` is no list of planners.
    """
    if not (folder / "metrics.json").exists():
        return False
    config, stored = settle(cfg)[0], OmegaConf.load(folder / "config.yaml")
    stored.pop("explorer", None)  # It follows from the rest.
    require_same(stored, config, folder, FURTHER)
    return not unmeasured(folder, entries(config.compare) if config.compare is not None else ())


def job_folder(settings: str) -> str:
    """The name of a job's folder: its settings, with a hash where they are too long or no name for a file.

    It has no `=` and no comma, which a path on a command line would have to be quoted for.

    Args:
        settings: of the command line that make a difference, such as `model=mlp,seed=1`.
    """
    setting = r"\w[\w.]*=[\w.-]*"
    plain = re.fullmatch(f"({setting}(,{setting})*)?", settings, flags=re.ASCII)
    name = re.sub(r"[^\w.+-]", "_", settings.replace("=", "-").replace(",", "+"), flags=re.ASCII)
    if plain and len(name) <= LONGEST:
        return name or "defaults"
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def unmeasured(folder: Path, planners: Iterable[str]) -> list[str]:
    """Those entries of `compare` whose planners the run in the folder has not been evaluated with."""
    return [entry for entry in planners if not (rival_folder(folder, entry) / "metrics.json").exists()]


def rival_folder(folder: Path, entry: str) -> Path:
    """Where a run leaves what it has found with the planner of an entry of `compare`."""
    return folder / RIVALS / job_folder(",".join(as_settings(entry)))


def entries(compare: Any) -> list[str]:
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


def as_settings(entry: str) -> list[str]:
    """An entry of `compare` as settings on a command line."""
    name, *settings = entry.split()
    return [f"planner={name}", *settings]


def require_same(stored: DictConfig, config: DictConfig, folder: Path, free: Sequence[str] = ()) -> None:
    """Raises `UserError` if two configurations of runs in a folder differ in what makes a difference to results.

    Further settings that they are free to differ in are `free`.
    """
    stored, config = stored.copy(), config.copy()
    for either in (stored, config):
        for key in (*NO_DIFFERENCE, *free):
            OmegaConf.update(either, key, None, merge=False)
    if stored != config:
        raise UserError(
            f"{folder} holds a run of another configuration; choose another hydra.run.dir=DIR, or hydra.sweep.dir=DIR."
        )


@contextmanager
def claim(folder: Path, config: DictConfig, free: Sequence[str] = ()) -> Iterator[None]:
    """Within it the folder belongs to this run, and its `config.yaml` is that of this run.

    Args:
        folder: of the run.
        config: of the run.
        free: settings in which an earlier run in the folder may have differed.

    Raises:
        UserError: another run is at work in the folder, or it holds a run of another configuration.
    """
    if not first_process():  # The first process of a distributed run claims the folder for all of them.
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
            require_same(OmegaConf.load(stored), config, folder, free)
        with replacing(stored) as temporary:
            OmegaConf.save(config, temporary)
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
