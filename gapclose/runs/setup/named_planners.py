"""Planners composed by name, beside the one that a run's configuration describes.

An entry is the name of a planner, perhaps followed by settings: `multistart init=policy planner.num_samples=8`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from gapclose.errors import UserError
from gapclose.explanation import explain
from gapclose.overrides import key_of
from gapclose.runs.setup.parts import Parts
from gapclose.runs.storage.run_folder import compare_entries

COMPARED_GROUPS = ("init", "planner", "mpc", "adaptation")
"""The groups in which the planners of `compare` may differ."""
EXPLORER_GROUPS = ("init", "planner", "objective")
"""The groups in which the planner of `finetune.rollouts.planner` may differ from the run's."""
EXPLORER_SETTING = "finetune.rollouts.planner"


def compared(config: DictConfig, overrides: Sequence[str]) -> dict[str, Parts]:
    """The parts of each planner in the setting `compare`, each with its own defaults and what the command line sets.

    Args:
        config: of plan.py.
        overrides: the command line.

    Raises:
        UserError: for what is wrong with the list, or with one of its entries.
    """
    listed = compare_entries(config.compare)
    if any(override.startswith("planner=") for override in overrides):
        raise UserError("planner and compare exclude each other; put the planner into the list of compare.")
    shared = [override for override in overrides if not override.startswith("compare=")]
    everything = {}
    for entry in listed:
        with naming_entry("compare", entry):
            everything[entry] = Parts.build(with_groups(config, groups_of(entry, "plan", shared, COMPARED_GROUPS)))
    return everything


def explorer_groups(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any] | None:
    """The groups of the planner in the setting `finetune.rollouts.planner`; none if the run's own makes the rollouts.

    It has its own defaults for `planner` and `init`, whatever the command line sets there for the run's planner, but
    plans as far ahead; and it plans for the run's objective, unless the entry names another.

    Args:
        config: of train.py.
        overrides: the command line.

    Raises:
        UserError: for what is wrong with the entry.
    """
    entry = OmegaConf.select(config, EXPLORER_SETTING)
    if entry is None:
        return None
    if not isinstance(entry, str) or not entry.strip():
        raise UserError(
            f"{EXPLORER_SETTING} is {entry}; give the name of a planner, perhaps with settings, such as "
            f"'{EXPLORER_SETTING}=\"cem planner.iterations=10\"', or null for the run's own."
        )
    with naming_entry(EXPLORER_SETTING, entry):
        return groups_of(entry, "train", beside(entry, config, overrides), EXPLORER_GROUPS)


def compared_planner_groups(config: DictConfig, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The groups of each planner in train.py's setting `compare`; none if models are evaluated with the run's own only.

    Each has its own defaults for `planner` and `init`, as in `explorer_groups`.

    Args:
        config: of train.py.
        overrides: the command line.

    Raises:
        UserError: for what is wrong with the list, or with one of its entries.
    """
    found = {}
    for entry in compare_entries(config.compare) if config.compare is not None else []:
        with naming_entry("compare", entry):
            found[entry] = groups_of(entry, "train", beside(entry, config, overrides), COMPARED_GROUPS)
    return found


def beside(entry: str, config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """What another planner has of the command line: what is not for the run's own, and as long a horizon."""
    chosen = {"compare", "init", "planner"} | {key for key in map(key_of, entry.split()[1:]) if "." not in key}
    shared = [text for text in overrides if key_of(text).partition(".")[0] not in chosen]
    return [*shared, f"planner.horizon={config.planner.horizon}"]


def groups_of(entry: str, job: str, overrides: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """What the configuration `job` would hold in these groups with the planner and the settings of the entry."""
    name, *settings = entry.split()
    for key in map(key_of, settings):
        if key.partition(".")[0] not in groups:
            raise UserError(f"it sets {key}; an entry may set {', '.join(groups)} only.")
    composed = OmegaConf.to_container(compose(job, overrides=[*overrides, f"planner={name}", *settings]), resolve=True)
    return {group: composed[group] for group in groups}


def with_groups(config: DictConfig, groups: Mapping[str, Any]) -> DictConfig:
    """A copy of the configuration with these groups in the place of its own."""
    own = config.copy()
    for group, content in groups.items():
        OmegaConf.update(own, group, content, merge=False)
    return own


@contextmanager
def naming_entry(setting: str, entry: str) -> Iterator[None]:
    """Within it, what a user can put right is said to be wrong with this entry of the setting."""
    try:
        yield
    except Exception as error:
        if explain(error) is None:
            raise
        raise UserError(f"Of {setting}, the entry {entry!r}: {explain(error)}") from error
