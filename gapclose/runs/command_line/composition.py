"""How a command's configuration is composed: once, where Hydra would do it twice."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig


@contextmanager
def composing_once() -> Iterator[None]:
    """Lets Hydra run on the configuration that it has composed to find out whether the command is a multirun.

    Hydra composes a configuration to read `hydra.mode` in it, forgets it, and composes an equal one, with the mode as
    one more override, to run on. That takes a quarter of a second. What the first composition leaves out is made up
    for here: the mode, and two checks.
    """
    load, first = ConfigLoaderImpl.load_configuration, {}

    def load_once(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if not validate_sweep_overrides:  # Only Hydra.get_mode asks for no validation.
            config = load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
            first[config_name, *overrides] = config
            return config
        mode = f"hydra.mode={run_mode.name}"
        given = overrides[:-1] if overrides[-1:] == [mode] else overrides
        config = first.pop((config_name, *given), None)
        if config is None or "???" in config.hydra.runtime.choices.values():
            return load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        self.validate_sweep_overrides_legal(OverridesParser.create().parse_overrides(given), run_mode, from_shell)
        if given is not overrides:
            config.hydra.mode = run_mode
            config.hydra.overrides.hydra.append(mode)
        return config

    ConfigLoaderImpl.load_configuration = load_once
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load
