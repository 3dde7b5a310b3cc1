"""Writes files atomically: completely or not at all."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = re.compile(r"\..+\.\d+\.partial")
"""Names of temporary files: that of the final file, and the number of the process."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`. The file written there replaces `path` if the block raises no error.

    Raises:
        OSError: the file cannot be written, with its name: libraries report a full disk in errors of their own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # Some libraries make files that only their owner can read.
        os.replace(temporary, path)
    except Exception as error:
        failed = write_error(error, path, temporary)
        if failed is None:
            raise
        raise failed from error
    finally:
        temporary.unlink(missing_ok=True)


def write_error(error: Exception, path: Path, temporary: Path) -> OSError | None:
    """Returns the error of a failed write of `path` with this path in it; `None` if the error is another one.

    On a full disk, PyTorch raises a `RuntimeError` without a reason, safetensors an error of its own with the number of
    the system's error in its text, and Python an `OSError` that names no file.
    """
    number = re.search(r"\(os error (\d+)\)", str(error))
    if isinstance(error, OSError):
        code = error.errno if error.filename in (None, str(temporary)) else None
    elif number:
        code = int(number[1])
    elif isinstance(error, RuntimeError) and re.search("PytorchStreamWriter|inline_container", str(error)):
        code = errno.ENOSPC if shutil.disk_usage(path.parent).free < 2**20 else errno.EIO
    else:
        code = None
    return code and OSError(code, os.strerror(code), str(path))


def remove_partial(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder, which no other process may be using."""
    for path in folder.glob(".*.partial"):
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file atomically; numbers that are not finite become null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Returns the content with `None` for every number that is not finite, which JSON cannot represent."""
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
