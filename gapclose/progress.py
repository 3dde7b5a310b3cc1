"""Progress bars: on a terminal only, and gone when the work is done."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, unit: str = "it") -> Iterator[Item]:
    """Passes the items on and shows how many of them are done; nothing for work of less than half a second."""
    return iter(tqdm(items, what, unit=unit, leave=False, disable=None, delay=0.5))
