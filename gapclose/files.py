"""Reads text files, which may come from a stranger, and writes files atomically: completely or not at all."""

import errno
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapclose.errors import UserError

PARTIAL = re.compile(r"\.(.+)\.\d+\.partial")
"""Names of temporary files: that of the final file, and the number of the process."""

LARGEST_TEXT = 2**26
"""Maximum size of text files in bytes."""
DEEPEST = 50
"""How many levels of folders are searched; `os.walk` calls itself at each one."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`. The file written there replaces `path` if the block raises no error.

    Raises:
        OSError: the file cannot be written, with its name: libraries report a full disk in errors of their own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.unlink(missing_ok=True)  # It may be a link, in a folder from a stranger.
        temporary.touch(exist_ok=False)
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


def is_there(path: Path) -> bool:
    """Whether a file that is to be read exists.

    Raises:
        UserError: it is no regular file, as reading a pipe would wait for ever, or it is a link to nothing, which
            may lead to a folder that is not mounted.
        OSError: the folder cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise UserError(f"{path} is a link to a file that does not exist; correct or remove the link.") from error
        return False
    require_regular(path, mode)
    return True


def require_regular(path: Path, mode: int) -> None:
    """Raises `UserError` unless the mode of the file is that of a regular file."""
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UserError(f"{path} is {what}; move it, or give the path of a file.")


def without_waiting(path: str, flags: int) -> int:
    """Opens a file as an `opener` of `open`: reading a pipe or a device then fails instead of waiting for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path, errors: str = "strict", largest: int = LARGEST_TEXT) -> str:
    """Reads a small text file, whose contents may come from a stranger.

    Args:
        path: the file.
        errors: what to do about bytes that are not UTF-8, as in `open`.
        largest: maximum size in bytes.

    Raises:
        UserError: it is no regular file.
        ValueError: it is too large, or not UTF-8.
        OSError: it cannot be read.
    """
    if not is_there(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        with open(path, "rb", opener=without_waiting) as file:
            require_regular(path, os.fstat(file.fileno()).st_mode)  # It may be another one by now.
            content = file.read(largest + 1)  # A file of the system may hold more than its size says.
    except OSError as error:  # One while reading names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    if content is None:
        raise UserError(f"{path} is no regular file; move it, or give the path of a file.")
    if len(content) > largest:
        raise ValueError("it is too large")
    return content.decode("utf-8", errors)


def walk(folder: Path, failed: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walks through a folder in the order of names, as `os.walk`, but reports each folder that it leaves out.

    Args:
        folder: the folder, which may come from a stranger.
        failed: is called with the error of a folder that cannot be listed, or has too many levels; by default it is
            raised.
    """

    def raised(error: OSError) -> None:
        raise error

    failed = failed or raised
    for here, below, files in os.walk(folder, onerror=failed):
        path = Path(here)
        if below and len(path.relative_to(folder).parts) >= DEEPEST:
            below.clear()
            failed(OSError(errno.ENAMETOOLONG, "Too many levels of folders", here))
        below.sort()
        yield path, below, sorted(files)


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


def remove_partial(folder: Path, name: str | None = None) -> None:
    """Removes the temporary files that killed processes left in a folder.

    Args:
        folder: the folder.
        name: name of the final file; by default any. No other process may be writing such a file.
    """
    for path in folder.glob(".*.partial"):
        final = PARTIAL.fullmatch(path.name)
        if final and name in (None, final[1]):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, in UTF-8; parts of file names that are not valid text become question marks."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Returns the content with `None` for every number that is not finite, which JSON cannot represent."""
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
