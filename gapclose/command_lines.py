"""Command lines that are printed, so that they can be pasted into a shell: quoted for Hydra, and then for the shell."""

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString

from gapclose.overrides import key_of

PLAIN = re.compile(r"(?!(null|true|false|inf|nan)$)(\.{0,2}/)*[A-Za-z_][\w./-]*( [\w./-]+)*", re.ASCII | re.IGNORECASE)
"""Values that Hydra reads as this text without quotes. Others may be numbers, lists, choices or a syntax error."""


def quoted_override(key: str, value: str | Path) -> str:
    """Returns the override that sets a setting to a text such as a path, whatever characters it contains."""
    return f"{key}={value if PLAIN.fullmatch(str(value)) else quoted(str(value))}"


def list_override(key: str, values: Iterable[str | Path]) -> str:
    """Returns the override that sets a setting to a list of texts."""
    return f"{key}=[{','.join(quoted(str(value)) for value in values)}]"


def quoted(text: str) -> str:
    """Returns a text in quotes, as Hydra reads it."""
    # OmegaConf reads "${" as the start of an interpolation unless it is escaped.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(text, Quote.double if "'" in text else Quote.single).with_quotes()


def shell_override(key: str, value: str | Path) -> str:
    """Returns the override as one word of a shell."""
    return shlex.quote(quoted_override(key, value))


def shell_path(path: str | Path) -> str:
    """Returns a path as one word of a shell, and not as one that a command takes for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def train_command(*words: str) -> str:
    """Returns the command of train.py with these words, started as it was if this process is one."""
    started = sys.argv[0]
    if Path(started).name == "gapclose-train":
        return shlex.join([started, *words])
    return shlex.join(["python", started if Path(started).name == "train.py" else "train.py", *words])


def resuming_command(folder: Path, original: bool) -> str:
    """Returns the command that goes on with the interrupted run of the current command.

    It names the same folders of the user's own options (`--config-dir`, `hydra.searchpath`) as the current command.

    Args:
        folder: folder of the run.
        original: whether to repeat the whole command, instead of `resume=DIR` with the stored settings.
    """
    hydra = HydraConfig.get()
    own = [
        f"--config-dir={source.path}" for source in hydra.runtime.config_sources if source.provider == "command-line"
    ]
    for_hydra = [text for text in hydra.overrides.hydra if key_of(text) not in ("hydra.run.dir", "hydra.mode")]
    if original:
        return train_command(*own, *for_hydra, *hydra.overrides.task, quoted_override("hydra.run.dir", folder))
    return train_command(*own, *search_paths(), quoted_override("resume", folder))


def search_paths() -> list[str]:
    """Returns the overrides of the current command that add folders of options; every composition needs them."""
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [text for text in given if key_of(text) == "hydra.searchpath"]
