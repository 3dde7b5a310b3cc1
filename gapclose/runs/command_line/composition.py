"""Makes Hydra compose the configuration of a command only once, and read each configuration file only once."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


@contextmanager
def reading_once() -> Iterator[None]:
    """Makes Hydra read each configuration file once for all compositions in this context, such as those of a sweep.

    Parsing takes a third of the time of a composition. Hydra also copies all that plugins have registered for each
    composition, and for --help once more for each group, which is most of the time that it takes. A composition changes
    only the list of config sources, so a shallow copy is enough.
    """
    load, initialize, read = ConfigRepository.load_config, CachingConfigRepository.__init__, {}

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = (*(source.path for source in self.sources), config_path)
        if key not in read:
            read[key] = load(self, config_path)
        return deepcopy(read[key])

    def initialize_repository(self: CachingConfigRepository, delegate: ConfigRepository) -> None:
        self.cache, self.delegate = {}, copy(delegate)

    ConfigRepository.load_config, CachingConfigRepository.__init__ = load_config, initialize_repository
    try:
        yield
    finally:
        ConfigRepository.load_config, CachingConfigRepository.__init__ = load, initialize


@contextmanager
def composing_once() -> Iterator[None]:
    """Makes Hydra reuse the configuration that it composes to find out whether the command is a multirun.

    Hydra composes the configuration once to read `hydra.mode`, and again, with the mode as an additional override, to
    run the job. The second composition takes a quarter of a second. The first one lacks the mode and two checks, which
    are added here.
    """
    load, first = ConfigLoaderImpl.load_configuration, {}

    def load_configuration(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if not validate_sweep_overrides:  # Only Hydra.get_mode composes without validation.
            config = load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
            first[config_name, *overrides] = config
            return config
        mode = f"hydra.mode={run_mode.name}"
        given = overrides[:-1] if overrides[-1:] == [mode] else overrides
        config = first.pop((config_name, *given), None)
        if config is None or OmegaConf.missing_keys(config.hydra.runtime.choices):
            return load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        self.validate_sweep_overrides_legal(OverridesParser.create().parse_overrides(given), run_mode, from_shell)
        if given is not overrides:
            config.hydra.mode = run_mode
            config.hydra.overrides.hydra.append(mode)
        return config

    ConfigLoaderImpl.load_configuration = load_configuration
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load
