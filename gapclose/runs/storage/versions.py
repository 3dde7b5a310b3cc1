"""The versions of the software that makes a run."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gapclose

PACKAGES = ("torch", "lightning", "numpy")


def versions_and_commit() -> dict[str, Any]:
    """Returns the `versions` of gapclose, Python and `PACKAGES`, and the `commit` of the checkout, for metrics.json."""
    versions = {"gapclose": gapclose.__version__, "python": platform.python_version()}
    return {"versions": versions | {name: version(name) for name in PACKAGES}, "commit": commit()}


def commit() -> str | None:
    """Returns the commit of the checkout that gapclose runs from, with `-dirty` if files differ from it.

    Returns `None` outside a checkout, or if git cannot be run.
    """
    checkout = Path(gapclose.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
