"""Progress bars. They are shown on a terminal only, after half a second, and disappear when the work is done."""

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_bar = partial(tqdm, leave=False, disable=None, delay=0.5)


def track(items: Iterable[Item], what: str, unit: str = "it") -> Iterable[Item]:
    """Iterates over the items and shows how many of them are done."""
    return _bar(items, what, unit=unit)


def progress_bar(total: int, what: str, unit: str) -> tqdm:
    """Returns a bar that the caller updates, for work that may end before the total is reached."""
    return _bar(total=total, desc=what, unit=unit)
