"""The report of a sweep."""

from pathlib import Path


def write_sweep_report(folder: Path) -> Path:
    """Later."""
    raise NotImplementedError
