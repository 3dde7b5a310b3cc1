"""Overrides of a command line, dotted keys of a config, and the settings that do not affect the results of a run."""

from collections.abc import Sequence
from typing import Any

NEUTRAL_SETTINGS = ("sweep", "data_dir", "data.folder", "num_threads", "num_workers", "logger")
"""Settings and groups that do not affect the results of a run.

They are left out of the names of folders, may change when a run is resumed, and never distinguish runs in tables.
"""


def is_among(key: str, settings: Sequence[str]) -> bool:
    """Whether a setting or group is in the list, or is part of a group in it."""
    return key in settings or key.partition(".")[0] in settings


def key_and_value(override: str) -> tuple[str, str]:
    """Returns the setting or group that an override changes, and its value; an empty string if it has none."""
    key, _, value = override.lstrip("+~").partition("=")
    return key.partition("@")[0], value


def key_of(override: str) -> str:
    """Returns the setting or group that an override changes."""
    return key_and_value(override)[0]


def flatten_config(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested config to dotted keys."""
    flat = {}
    for name, value in config.items():
        flat |= flatten_config(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
