"""The overrides of a command line: what each is for, and which make no difference to what a run finds."""

from collections.abc import Sequence

NO_DIFFERENCE = ("sweep", "data_dir", "data.folder", "num_threads", "num_workers", "logger")
"""Settings and groups that runs with the same results may differ in: folders leave them out of their names, a run goes
on with others, and tables do not tell runs apart by them."""


def is_among(key: str, settings: Sequence[str]) -> bool:
    """Whether a setting or group is one of these, or inside one of them."""
    return key in settings or key.partition(".")[0] in settings


def key_and_value(override: str) -> tuple[str, str]:
    """The setting or group that an override is for, and what it is set to; empty where nothing is."""
    key, _, value = override.lstrip("+~").partition("=")
    return key.partition("@")[0], value


def key_of(override: str) -> str:
    """The setting or group that an override is for."""
    return key_and_value(override)[0]
