"""Composes the planners that the settings `compare` and `finetune.rollouts.planner` name.

An entry of these settings is the name of a planner, optionally with settings: `multistart init=policy
planner.num_samples=8`. The run's own planner, of the group `planner`, is built in `gapclose.runs.setup.parts`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from gapclose.command_lines import search_paths
from gapclose.errors import UserError
from gapclose.explanation import explain
from gapclose.overrides import key_of
from gapclose.runs.setup.parts import Parts
from gapclose.runs.storage.run_folder import compare_entries

COMPARED_GROUPS = ("init", "planner", "mpc", "adaptation")
"""The groups in which the planners of `compare` may differ."""
EXPLORER_GROUPS = ("init", "planner", "objective")
"""The groups in which the planner of the rollouts may differ from the run's."""
EXPLORER_SETTING = "finetune.rollouts.planner"
"""The setting that names the planner of the rollouts, the explorer."""


def build_compared_planners(config: DictConfig, overrides: Sequence[str]) -> dict[str, Parts]:
    """Builds the parts of each planner in plan.py's setting `compare`.

    Each planner has its own defaults and the overrides of the command line.

    Args:
        config: configuration of plan.py.
        overrides: overrides of the command line.

    Raises:
        UserError: the list or one of its entries is invalid.
    """
    entries = compare_entries(config.compare)
    if any(override.startswith("planner=") for override in overrides):
        raise UserError("planner and compare exclude each other; leave out planner, and add it to the list of compare.")
    shared = [override for override in overrides if not override.startswith("compare=")]
    by_entry = {}
    for entry in entries:
        with naming_entry("compare", entry):
            by_entry[entry] = Parts.build(with_groups(config, compose_groups(entry, "plan", shared, COMPARED_GROUPS)))
    return by_entry


def explorer_groups(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any] | None:
    """Returns the groups of the planner of the rollouts; `None` if it is the run's own.

    The planner has its own defaults for `planner` and `init`: overrides of these groups are for the run's planner. It
    has the run's horizon, and also the run's objective unless the entry sets another.

    Args:
        config: configuration of train.py.
        overrides: overrides of the command line.

    Raises:
        UserError: the entry is invalid.
    """
    entry = OmegaConf.select(config, EXPLORER_SETTING)
    if entry is None:
        return None
    if not isinstance(entry, str) or not entry.strip():
        raise UserError(
            f"{EXPLORER_SETTING} is {entry}; give the name of a planner, optionally with settings, such as "
            f"'{EXPLORER_SETTING}=\"cem planner.iterations=10\"', or null for the run's own."
        )
    with naming_entry(EXPLORER_SETTING, entry):
        return compose_groups(entry, "train", overrides_for_other_planner(entry, config, overrides), EXPLORER_GROUPS)


def compared_planner_groups(config: DictConfig, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the groups of each planner in train.py's setting `compare`; empty if the setting is null.

    Each planner has its own defaults for `planner` and `init`, as in `explorer_groups`.

    Args:
        config: configuration of train.py.
        overrides: overrides of the command line.

    Raises:
        UserError: the list or one of its entries is invalid.
    """
    by_entry = {}
    for entry in compare_entries(config.compare) if config.compare is not None else []:
        with naming_entry("compare", entry):
            shared = overrides_for_other_planner(entry, config, overrides)
            by_entry[entry] = compose_groups(entry, "train", shared, COMPARED_GROUPS)
    return by_entry


def overrides_for_other_planner(entry: str, config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that also hold for the planner of an entry: all but those of the run's own planner.

    The horizon of the run's planner is added.
    """
    excluded = {"compare", "init", "planner"} | {key for key in map(key_of, entry.split()[1:]) if "." not in key}
    shared = [text for text in overrides if key_of(text).partition(".")[0] not in excluded]
    return [*shared, f"planner.horizon={config.planner.horizon}"]


def compose_groups(entry: str, job: str, overrides: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """Composes the configuration `job` with the planner and the settings of the entry, and returns these groups of it.

    Raises:
        UserError: the entry has a setting outside these groups.
    """
    name, *settings = entry.split()
    for key in map(key_of, settings):
        if key.partition(".")[0] not in groups:
            raise UserError(f"it sets {key}, but an entry may only set settings of {', '.join(groups)}.")
    overrides = [*search_paths(), *overrides, f"planner={name}", *settings]
    composed = OmegaConf.to_container(compose(job, overrides=overrides), resolve=True)
    return {group: composed[group] for group in groups}


def with_groups(config: DictConfig, groups: Mapping[str, Any]) -> DictConfig:
    """Returns a copy of the configuration in which these groups are replaced."""
    config = config.copy()
    for group, content in groups.items():
        OmegaConf.update(config, group, content, merge=False)
    return config


@contextmanager
def naming_entry(setting: str, entry: str) -> Iterator[None]:
    """Names the setting and its entry in the errors that a user can fix and that are raised in this context."""
    try:
        yield
    except Exception as error:
        if explain(error) is None:
            raise
        raise UserError(f"The entry {entry!r} of {setting} is invalid: {explain(error)}") from error
