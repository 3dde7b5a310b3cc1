"""Makes text from files and names of folders safe to print: it may come from a stranger."""

import re

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal or reverse the direction of text, and parts of names that are not valid text."""

MOST_SHOWN = 120
"""How many letters of a name are shown in a picture: it grows with the longest name."""


def printable(text: str) -> str:
    """Replaces control characters, except line breaks and tabs, by `�`, so that a terminal does not obey them."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """Replaces the end of a text of more than `most` letters by `…`."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
