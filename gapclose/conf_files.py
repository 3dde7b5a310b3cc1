"""The configuration files of gapclose and of the user's own options, and the classes that they name.

A configuration stored in a checkpoint or in the folder of a run may come from a stranger. Building an object from it
calls what its `_target_` names, so only classes are accepted that the options of this installation name themselves.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

import gapclose
from gapclose.errors import UserError
from gapclose.overrides import key_and_value

TARGET = re.compile(r"""^[^#\n]*\b_target_: *["']?([\w.]+)""", re.MULTILINE)
"""A class named in a YAML file, unless the line is a comment."""
NOT_STORED = ("hydra", "sweep")
"""Folders of options that configure Hydra, and thus are not part of a stored configuration."""
PLAIN = (bool, int, float, str, type(None))
"""Types of values in a stored configuration, besides lists and mappings."""
MOST_SETTINGS = 10_000
"""How many values a stored configuration may have, as OmegaConf takes long for each; one of train.py has hundreds."""


def conf_dir() -> Path:
    """Returns the folder of the Hydra configuration: inside the installed package, or beside it in a checkout."""
    package = Path(gapclose.__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def require_known_targets(config: Any, source: str | Path) -> None:
    """Checks that building objects from a stored configuration calls nothing but classes of the options.

    These are the classes in gapclose's own options, in those of folders that the command names (`--config-dir`,
    `hydra.searchpath`), and in the overrides of the command.

    Args:
        config: content of the file: mappings, lists and values.
        source: the file, for the error message.

    Raises:
        UserError: it names another class.
    """
    for key, value in unknown_targets(config):
        raise UserError(
            f"The configuration in {source} names {value!r:.100} as {key}, which no option of this version of "
            f"gapclose does, so it is not used; choose {key.partition('.')[0]} again, or, if the class is yours, "
            "add the folder with your options: --config-dir=DIR."
        )


def unknown_targets(config: Any, with_overrides: bool = True) -> list[tuple[str, Any]]:
    """Returns the keys and classes in a configuration that are not among `known_targets`."""
    known = known_targets(with_overrides)
    return [
        (key, value) for key, value in leaves(config) if key.rpartition(".")[2] == "_target_" and value not in known
    ]


def require_plain(config: Any, source: str | Path) -> None:
    """Checks that a stored configuration is data only, with all interpolations resolved.

    Raises:
        UserError: it contains an interpolation, objects other than mappings, lists and values, or too many values.
    """
    for count, (key, value) in enumerate(leaves(config)):
        plain = isinstance(value, PLAIN) and not (isinstance(value, str) and "${" in value)
        if count == MOST_SETTINGS or not plain:
            what = f"{key} is {value!r:.60}" if not plain else f"it has more than {MOST_SETTINGS} settings"
            raise UserError(
                f"The configuration in {source} is not one that train.py wrote, as {what}; give one that it did."
            )


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted keys and the values in nested mappings and lists."""
    if isinstance(config, dict | list):
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config


def known_targets(with_overrides: bool = True) -> set[str]:
    """Returns the classes that the options of gapclose and of the current command name.

    Args:
        with_overrides: whether to include those of the command's overrides.
    """
    known = set(targets_below(conf_dir()))
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        for source in hydra.runtime.config_sources:
            if source.provider not in ("hydra", "main", "schema") and source.path:
                known |= targets_below(files(source.path) if source.schema == "pkg" else Path(source.path))
        overrides = map(key_and_value, hydra.overrides.task if with_overrides else ())
        known |= {value for key, value in overrides if key.rpartition(".")[2] == "_target_"}
    return known


@cache
def targets_below(folder: Traversable) -> frozenset[str]:
    """Returns the classes that the YAML files in a folder of options and below it name."""
    found: set[str] = set()
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in NOT_STORED:
            found |= targets_below(entry)
        elif entry.name.endswith((".yaml", ".yml")):
            found |= set(TARGET.findall(entry.read_text(encoding="utf-8")))
    return frozenset(found)
