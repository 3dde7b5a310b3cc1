"""Progress bars: on a terminal only, and gone when the work is done."""

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_bar = partial(tqdm, leave=False, disable=None, delay=0.5)


def track(items: Iterable[Item], what: str, unit: str = "it") -> Iterable[Item]:
    """Passes the items on and shows how many of them are done; nothing for work of less than half a second."""
    return _bar(items, what, unit=unit)


def progress_bar(total: int, what: str, unit: str) -> tqdm:
    """A bar to be updated by hand, for work that may end before the total is reached."""
    return _bar(total=total, desc=what, unit=unit)
