"""The folder of a run: its name, its lock, its stored configuration, and whether the run in it is finished."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from gapclose.conf_files import require_known_targets, require_plain
from gapclose.errors import UserError
from gapclose.files import is_there, remove_partial, write_text
from gapclose.locks import PathLock
from gapclose.overrides import NEUTRAL_SETTINGS, flatten_config, is_among
from gapclose.renamed import with_present_names
from gapclose.stored import read_yaml

CHOICES = ("env", "data", "model", "baseline", "planner", "adaptation", "finetune", "attack", "radii")
"""Config groups whose chosen options are stored with the results."""
COMPARISONS = "compare"
"""Subfolder of a run with the results of the planners of `compare`."""
COMPARISON_SETTINGS = ("compare", "compared")
"""Settings of train.py with these planners. The other results of a run do not depend on them."""
MAX_NAME_BYTES = 200
"""Maximum length of the name of a job's folder; file systems allow 255 bytes."""


def config_and_folder(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """Returns the configuration and the folder of a run.

    With `resume=DIR`: DIR and the configuration stored there. Otherwise: Hydra's output folder and the composed
    configuration.

    Raises:
        UserError: there is no run to resume, or the command line has settings beside `resume`.
    """
    if cfg.get("resume") is not None:
        folder = Path(cfg.resume)
        if not is_there(folder / "config.yaml"):
            raise UserError(f"There is no run to resume in {folder}: it has no config.yaml; give the folder of a run.")
        others = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
        if others:
            raise UserError(f"resume takes all settings from {folder}; leave out {' '.join(others)}.")
        return stored_config(folder), folder
    config = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    choices = HydraConfig.get().runtime.choices
    config.choices = {group: choices[group] for group in CHOICES if group in choices}
    if choices.get("finetune") == "none":
        config.finetune = None  # In a sweep over finetune, `++finetune.epochs=4` is meant for other modes.
    return config, Path(HydraConfig.get().runtime.output_dir)


def stored_config(folder: Path) -> DictConfig:
    """Reads the `config.yaml` of a run, with the present names of its classes and settings.

    Raises:
        UserError: the file is damaged, or not from train.py, or names classes that no option of this version names.
    """
    path = folder / "config.yaml"
    try:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
        content = with_present_names(content)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}), so the run in this folder cannot be resumed; choose "
            "another folder, or delete this one."
        ) from error
    require_plain(content, path)
    require_known_targets(content, path)
    return OmegaConf.create(content)


def stored_overrides(folder: Path) -> list[str]:
    """Returns the command line of a run, as Hydra has stored it; empty if it has not.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / ".hydra" / "overrides.yaml"
    if not is_there(path):
        return []
    try:
        overrides = read_yaml(path)
        if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
            raise ValueError("it is no list of settings")
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to do without it.") from error
    return overrides


def require_own_files(folder: Path, depth: int) -> None:
    """Checks that what is written into an existing folder stays there: it may come from a stranger.

    Args:
        folder: folder of a run or a sweep.
        depth: number of levels of folders to look into. W&B links its logs to those in a user's home.

    Raises:
        UserError: a file or folder in it is a link that leads out of it, or a pipe or the like.
        OSError: a folder cannot be read.
    """
    within, folders = folder.resolve(), [folder]
    for _ in range(depth):
        entries = [entry for here in folders for entry in os.scandir(here)]
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and not is_within(path, within):
                raise UserError(
                    f"{path} is a link that leads out of {folder}, and a run writes only into its own folder; put a "
                    "copy in the place of the link, or move the whole folder and link that."
                )
            if not entry.is_symlink() and not entry.is_dir() and not entry.is_file():
                raise UserError(f"{path} is neither a file nor a folder; remove it.")
        folders = [one.path for one in entries if one.is_dir(follow_symlinks=False) and one.name != "wandb"]


def is_within(link: Path, folder: Path) -> bool:
    """Whether what a link leads to is in a folder (whose path has no links) or below it."""
    try:
        return link.resolve(strict=True).is_relative_to(folder)
    except (OSError, RuntimeError):  # It leads to nothing, or to itself.
        return False


def is_finished(folder: Path, cfg: DictConfig) -> bool:
    """Whether the folder holds a finished run of train.py.

    A run is finished when metrics.json exists, its own and that of each planner of `compare`. It is the last file that
    a run writes.

    Raises:
        UserError: the run has another configuration, or `compare` is not a list of planners.
    """
    if not is_there(folder / "metrics.json"):
        return False
    config, stored = config_and_folder(cfg)[0], stored_config(folder)
    stored.pop("explorer", None)  # It is determined by the other settings.
    require_same_config(stored, config, folder, COMPARISON_SETTINGS)
    return has_all_results(folder, compare_entries(config.compare) if config.compare is not None else ())


def has_all_results(folder: Path, planners: Iterable[str]) -> bool:
    """Whether the run in the folder has a metrics.json, of its own and for each of these entries of `compare`."""
    return is_there(folder / "metrics.json") and not missing_comparisons(folder, planners)


def job_folder(settings: str) -> str:
    """Returns the name of a job's folder: its settings, with a hash if they are too long or unfit for a file name.

    The name has no `=` and no comma, so that its path needs no quotes in an override.

    Args:
        settings: settings of the command line, without neutral ones, such as `model=mlp,seed=1`.
    """
    setting = r"\w[\w.]*=[\w.-]*"
    plain = re.fullmatch(f"({setting}(,{setting})*)?", settings, flags=re.ASCII)
    name = re.sub(r"[^\w.+-]", "_", settings.replace("=", "-").replace(",", "+"), flags=re.ASCII)
    if plain and len(name) <= MAX_NAME_BYTES:
        return name or "defaults"
    return f"{name[: MAX_NAME_BYTES - 9]}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def missing_comparisons(folder: Path, planners: Iterable[str]) -> list[str]:
    """Returns the entries of `compare` that the run in the folder has no results for."""
    return [entry for entry in planners if not is_there(comparison_folder(folder, entry) / "metrics.json")]


def comparison_folder(folder: Path, entry: str) -> Path:
    """Returns the folder of a run's results with the planner of an entry of `compare`."""
    return folder / COMPARISONS / job_folder(",".join(entry_overrides(entry)))


def compare_entries(compare: Any) -> list[str]:
    """Returns the entries of the setting `compare`.

    Raises:
        UserError: the setting is not a list of planners, or has an entry twice.
    """
    entries = list(compare) if isinstance(compare, ListConfig) else []
    if not entries or not all(isinstance(entry, str) and entry.strip() for entry in entries):
        raise UserError(f"compare is {compare}; give a list of planners, such as compare=[gradient,cem].")
    entries = [" ".join(entry.split()) for entry in entries]
    if len(set(entries)) < len(entries):
        raise UserError(f"compare has an entry twice ({', '.join(entries)}); give each once.")
    return entries


def entry_overrides(entry: str) -> list[str]:
    """Returns an entry of `compare` as overrides of a command line."""
    name, *settings = entry.split()
    return [f"planner={name}", *settings]


def require_same_config(stored: DictConfig, config: DictConfig, folder: Path, may_differ: Sequence[str] = ()) -> None:
    """Checks that the configuration stored in a folder is that of the run that is about to use the folder.

    Args:
        stored: configuration in the folder.
        config: configuration of the run.
        folder: the folder, for the error message.
        may_differ: settings to ignore in addition to `NEUTRAL_SETTINGS`.

    Raises:
        UserError: any other setting differs.
    """
    may_differ = (*NEUTRAL_SETTINGS, *may_differ)
    there, here = (flatten_config(OmegaConf.to_container(either)) for either in (stored, config))
    differing = [
        (key.removeprefix("choices."), there.get(key, "not set"), here.get(key, "not set"))
        # Chosen options come first: they explain the settings below them.
        for key in sorted(there.keys() | here.keys(), key=lambda key: (not key.startswith("choices."), key))
        if not is_among(key, may_differ)
    ]
    phrases = [f"{key} is {theirs} there and {ours} here" for key, theirs, ours in differing if theirs != ours]
    if phrases:
        more = [f"and {len(phrases) - 3} more"] if len(phrases) > 3 else []
        raise UserError(
            f"{folder} holds a run of another configuration ({', '.join(phrases[:3] + more)}); choose another folder "
            "with hydra.run.dir=DIR, or hydra.sweep.dir=DIR for a sweep."
        )


@contextmanager
def run_lock(folder: Path, config: DictConfig, may_differ: Sequence[str] = ()) -> Iterator[None]:
    """Locks the folder for this run and writes the run's `config.yaml` into it.

    Args:
        folder: folder of the run.
        config: configuration of the run.
        may_differ: settings that may differ from those of an earlier run in the folder.

    Raises:
        UserError: another run uses the folder, or it holds a run of another configuration.
    """
    lock = PathLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"Another run is using {folder}; wait until it has finished, or choose another folder with "
            "hydra.run.dir=DIR."
        ) from error
    try:
        for written in (folder, folder / "checkpoints", *folder.glob(f"{COMPARISONS}/*")):
            remove_partial(written)
        stored, text = folder / "config.yaml", OmegaConf.to_yaml(config)
        if not is_there(stored):
            write_text(stored, text)
        elif stored.read_bytes() != text.encode():
            require_same_config(stored_config(folder), config, folder, may_differ)
            write_text(stored, text)
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
