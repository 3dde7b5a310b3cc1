"""Finds the settings in which the runs of a sweep differ, and runs that repeat others."""

from collections.abc import Sequence

from gapclose.overrides import NEUTRAL_SETTINGS, flatten_config, is_among
from gapclose.sweeps.runs import Missing, Run, canonical, compares_planners, describes_planner

IGNORED_SETTINGS = (
    *NEUTRAL_SETTINGS,
    "compare",
    "seed",
    "resume",
    "evaluation.models",
    "evaluation.each_epoch",
    "evaluation.device",
)
"""Config keys and groups that never distinguish settings of a sweep."""
IDENTIFYING_SETTINGS = ("finetune", "evaluation.seed", "evaluation.num_tasks")
"""Settings that identify a run even if no command line names them: runs on other tasks cannot be paired."""

MOST_KEYS, LONGEST_KEY = 100, 200
"""How many keys the tables have at most, and how many letters a key has; there are others only in made-up runs."""


def varied_keys(runs: Sequence[Run]) -> list[str]:
    """The config keys and groups in which the runs differ, among those that a command line names.

    If two runs agree in all these keys, in the seed and in the model, the difference is in a config file; the settings
    that differ there are added.
    """
    in_description = describes_planner if compares_planners(runs) else lambda key: False
    named = {key for run in runs for key in run.named if not is_ignored(key) and not in_description(key)}
    named |= set(IDENTIFYING_SETTINGS)
    for group in repeats(runs, sorted(named)):
        flat = [flatten_config(run.config) for run in group]
        shared = {key for key in set.intersection(*map(set, flat)) if not is_ignored(key) and not in_description(key)}
        named |= {key for key in shared if len({canonical(config[key]) for config in flat}) > 1}
    keys = sorted(key for key in named if len(key) <= LONGEST_KEY and len({run.value(key) for run in runs}) > 1)
    return keys[:MOST_KEYS]


def repeats(runs: Sequence[Run], keys: Sequence[str]) -> list[list[Run]]:
    """Groups of two or more runs that agree in these keys, in the seed and in an evaluated model."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        for model in run.evaluated_models:
            groups.setdefault((model, run.seed, *(run.value(key) for key in keys)), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def is_ignored(key: str) -> bool:
    """Whether a key never distinguishes settings of a sweep: it is an ignored one, or a copy of a chosen option."""
    return is_among(key, IGNORED_SETTINGS) or key.startswith("choices.")


def without_repeats(runs: Sequence[Run], keys: Sequence[str]) -> tuple[list[Run], list[Missing]]:
    """Splits runs into those to keep and those that repeat another; the run with more models is kept, or the first."""
    repeated = {}
    for group in repeats(runs, keys):
        kept, *others = sorted(group, key=lambda run: -len(run.evaluated_models))
        repeated |= {run.folder: Missing(run.folder, "left out", f"it repeats {kept.folder}") for run in others}
    return [run for run in runs if run.folder not in repeated], list(repeated.values())
