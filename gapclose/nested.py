"""Walks through nested mappings and lists that may come from a stranger."""

from collections.abc import Iterator
from typing import Any

MOST_VALUES, MOST_LEVELS = 1_000_000, 50
"""Bounds on what is read: lists that contain each other may stand for more values than fit into memory, and functions
that walk through nested ones call themselves at each level."""


def values_in(content: Any) -> Iterator[tuple[str, Any]]:
    """Yields the values in nested mappings and lists, each with its own key only, in no particular order.

    Raises:
        ValueError: there are more than `MOST_VALUES`, or they are nested deeper than `MOST_LEVELS`, or a key is
            neither a text nor a number.
    """
    waiting = [("", content, 0)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        name, value, level = waiting.pop()
        if level > MOST_LEVELS:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            odd = [key for key in value if type(key) not in (str, int)]
            if odd:
                raise ValueError(f"it has the key {odd[0]!r:.50}")
            waiting += [(str(key), part, level + 1) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(name, part, level + 1) for part in value]
        else:
            yield name, value
    raise ValueError("it holds too many values")


def require_bounded(content: Any) -> None:
    """Raises `ValueError` if there are too many values, or levels, or a key is no text or number."""
    for _ in values_in(content):
        pass
