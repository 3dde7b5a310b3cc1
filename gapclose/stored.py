"""Reads JSON and YAML files of runs, which may come from a stranger and thus have any content."""

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from gapclose.files import read_text
from gapclose.nested import require_bounded

LARGEST_JSON, LARGEST_YAML = 2**23, 2**20
"""Maximum sizes in bytes, many times those of what runs write; parsing YAML takes ten seconds for each megabyte."""
MOST_DIGITS = 400
"""Length of the longest number."""
EXACT_DIGITS = 18
"""Integers with more digits may not fit into 64 bits; in JSON files they are read as floating-point numbers."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads values as OmegaConf does, such as `1e-3` as a number, ten times as fast."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    def construct_yaml_int(self, node: yaml.Node) -> int:
        """Refuses long numbers: to convert some of them takes long, and others cannot be printed."""
        if len(node.value) > MOST_DIGITS:
            raise ValueError("it has a number of too many digits")
        return super().construct_yaml_int(node)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


def json_integer(digits: str) -> float:
    """Reads an integer as one, or as a floating-point number if other libraries could not compute with it."""
    if len(digits) > MOST_DIGITS:
        raise ValueError("it has a number of too many digits")
    return int(digits) if len(digits) <= EXACT_DIGITS else float(digits)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: it is no regular file.
        ValueError: it is not UTF-8; likewise the errors of `parse_json`.
        OSError: it cannot be read.
    """
    return parse_json(read_text(path, largest=LARGEST_JSON))


def read_yaml(path: Path) -> Any:
    """Reads a YAML file.

    Raises:
        UserError: it is no regular file.
        ValueError: it is not UTF-8; likewise the errors of `parse_yaml`.
        OSError: it cannot be read.
    """
    return parse_yaml(read_text(path, largest=LARGEST_YAML))


def parse_json(text: str) -> Any:
    """Parses JSON.

    Raises:
        ValueError: it is not JSON, nested too deeply, or too large.
    """
    try:
        require_length(text, LARGEST_JSON)
        content = json.loads(text, parse_int=json_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    require_bounded(content)
    return content


def parse_yaml(text: str) -> Any:
    """Parses YAML without aliases: no file of a run has any, and with them a few lines may stand for endless data.

    Raises:
        ValueError: it is not YAML, has aliases, or is nested too deeply, or too large.
    """
    try:
        require_length(text, LARGEST_YAML)
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader)):
            raise ValueError("it has aliases")
        content = yaml.load(text, Loader)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        raise
    except Exception as error:  # Besides YAMLError, any kind: from functions that convert values with tags like !!int.
        raise ValueError(" ".join(str(error).split())[:150]) from error
    require_bounded(content)
    return content


def require_length(text: str, most: int) -> None:
    """Raises `ValueError` if a text is too long to be parsed."""
    if len(text) > most:
        raise ValueError("it is too large")
