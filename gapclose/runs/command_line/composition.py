"""Makes Hydra read each configuration file, and merge the files of each choice of options, only once."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import astuple, replace
from typing import Any

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from gapclose.errors import UserError

PATCHED = (
    (CachingConfigRepository, "__init__"),
    (ConfigRepository, "load_config"),
    (config_loader_impl, "create_defaults_list"),
    (defaults_list, "_create_interpolation_map"),
    (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
)
"""The functions of Hydra that `composing_once` replaces."""


@contextmanager
def composing_once() -> Iterator[None]:
    """Makes the compositions in this context share what does not depend on values given on the command line.

    Hydra composes a command once to find out whether it is a multirun, once to run it, and once for each job of a
    sweep, which takes a sixth of a second each. It reads the files, finds out which options the command chooses (the
    defaults list), merges their files, and sets the values of the command; here only the last step is repeated. Hydra
    also copies all that plugins have registered for each composition, and for --help once more for each group, although
    a composition changes only the list of config sources. And for each file it copies all choices, to resolve
    interpolations in the defaults list, of which there are hardly any.
    """
    originals = [getattr(owner, name) for owner, name in PATCHED]
    _, load, choose, map_choices, merge = originals
    read, chosen, merged = {}, {}, {}  # As pickles, from which a copy is made in a fifth of the time of `deepcopy`.

    def sources(repo: IConfigRepository) -> tuple[str, ...]:
        return tuple(source.path for source in repo.get_sources())

    def initialize(self: CachingConfigRepository, delegate: ConfigRepository) -> None:
        self.cache, self.delegate = {}, copy(delegate)

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = sources(self), config_path
        if key not in read:
            read[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(read[key])

    def create(
        repo: IConfigRepository,
        config_name: str | None,
        overrides_list: list[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> DefaultsList:
        for override in overrides_list:
            if not override.is_sweep_override() and override.value() is None and not override.is_delete():
                key = override.key_or_group
                if repo.group_exists(key):
                    raise UserError(
                        f"{override.input_line} chooses no option of {key}; give the name of one, {key}=NAME (--help "
                        "lists them)."
                    )
        values = Overrides(repo, overrides_list).config_overrides
        choices = [override for override in overrides_list if not any(override is value for value in values)]
        key = sources(repo), config_name, prepend_hydra, *(override.input_line for override in choices)
        # Whether a missing option ("???") is an error depends on `skip_missing`.
        if key not in chosen or "???" in chosen[key].overrides.known_choices.values():
            chosen[key] = choose(repo, config_name, choices, prepend_hydra, skip_missing)
        return replace(chosen[key], config_overrides=values)

    def interpolation_map(overrides: Overrides, defaults: list[InputDefault], self_added: bool) -> Any:
        needed = any(default.is_interpolation() for default in defaults)
        return map_choices(overrides, defaults, self_added) if needed else None

    def compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        key = sources(repo), *map(astuple, defaults)
        if key not in merged:
            merged[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(merged[key])

    try:
        for (owner, name), shared in zip(PATCHED, (initialize, load_config, create, interpolation_map, compose)):
            setattr(owner, name, shared)
        yield
    finally:
        for (owner, name), original in zip(PATCHED, originals):
            setattr(owner, name, original)
