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
MOST_COLUMNS, MOST_CELLS = 1000, 6_000_000
"""Sizes of tables that are read, which may come from a stranger; they take a gigabyte of memory."""


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table to a file, atomically."""
    with replacing(path) as temporary:
        table.rename(columns=escaped).map(escaped).to_csv(temporary, index=False)


def read_csv(text: str) -> pd.DataFrame:
    """Reads a table from the text of a file of `write_csv`.

    Raises:
        ValueError: it is no table, or too large.
    """
    require_bounded(text)
    return pd.read_csv(io.StringIO(text)).rename(columns=unescaped).map(unescaped)


def require_bounded(text: str) -> None:
    """Raises `ValueError` if the text of a table has too many columns or cells."""
    columns = text.lstrip().partition("\n")[0].count(",")
    if columns > MOST_COLUMNS or text.count(",") + text.count("\n") > MOST_CELLS:
        raise ValueError("it is too large")


def numbers(column: pd.Series) -> pd.Series:
    """Converts a column to floating-point numbers, with NaN where there is text."""
    try:
        return pd.to_numeric(column, errors="coerce").astype(float)
    except OverflowError:  # One has hundreds of digits.
        return column.map(number).astype(float)


def number(value: Any) -> float:
    """Converts a value to a floating-point number; NaN if it is none, or too large."""
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return float("nan")


def escaped(value: Any) -> Any:
    """Text as it is written: with an apostrophe if a spreadsheet might take it for a formula; numbers as they are."""
    if not isinstance(value, str):
        return value
    return "'" + printable(value) if value.startswith(FORMULA) else printable(value)


def unescaped(value: Any) -> Any:
    """The value that was written as `escaped`."""
    return value.removeprefix("'") if isinstance(value, str) else value
