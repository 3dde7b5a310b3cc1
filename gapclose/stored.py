"""Parses JSON and YAML files of runs, which may come from a stranger and thus have any content."""

import json
from typing import Any

import yaml

MAX_DEPTH = 50
"""How deeply content may be nested; functions that walk through it call themselves at each level."""


def parse_json(text: str) -> Any:
    """Parses JSON.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    require_shallow(content)
    return content


def parse_yaml(text: str) -> Any:
    """Parses YAML without aliases: no file of a run has any, and with them a few lines may stand for endless data.

    Raises:
        ValueError: it is not YAML, has aliases, or is nested too deeply.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise ValueError("it has aliases")
        content = yaml.load(text, loader)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        raise
    except Exception as error:  # Besides YAMLError, any kind: from functions that convert values with tags like !!int.
        raise ValueError(" ".join(str(error).split())) from error
    require_shallow(content)
    return content


def require_shallow(content: Any, depth: int = 0) -> None:
    """Raises `ValueError` if lists and mappings are nested more than `MAX_DEPTH` deep."""
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            require_shallow(value, depth + 1)
