"""Writes and reads tables as CSV files that are safe to open in a spreadsheet.

A spreadsheet takes text that begins with a sign such as `=` for a formula. Such text is written with an apostrophe in
front (OWASP, *CSV Injection*), which is removed when the file is read.
"""

import io
from pathlib import Path
from typing import Any

import pandas as pd

from gapclose.files import replacing
from gapclose.printable import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""Beginnings of text that a spreadsheet may take for a formula, and the apostrophe itself."""


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table to a file, atomically."""
    with replacing(path) as temporary:
        table.rename(columns=escaped).map(escaped).to_csv(temporary, index=False)


def read_csv(text: str) -> pd.DataFrame:
    """Reads a table from the text of a file of `write_csv`.

    Raises:
        ValueError: it is no table.
    """
    return pd.read_csv(io.StringIO(text)).rename(columns=unescaped).map(unescaped)


def escaped(value: Any) -> Any:
    """Text as it is written: with an apostrophe if a spreadsheet might take it for a formula; numbers as they are."""
    if not isinstance(value, str):
        return value
    return "'" + printable(value) if value.startswith(FORMULA) else printable(value)


def unescaped(value: Any) -> Any:
    """The value that was written as `escaped`."""
    return value.removeprefix("'") if isinstance(value, str) else value
