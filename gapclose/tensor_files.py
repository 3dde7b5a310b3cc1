"""Reads files of `torch.save` that may come from a stranger: nothing in them is executed, and all is checked."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from gapclose.errors import UserError
from gapclose.explanation import one_line
from gapclose.files import is_there
from gapclose.nested import values_in
from gapclose.tensor_archive import Named, read_archive


def read_tensor_file(path: Path, kind: str, advice: str) -> dict[str, Any]:
    """Reads a file of `torch.save` that holds a mapping.

    Returns:
        The mapping. All tensors in it are dense, hold real numbers and are no larger than their data.

    Raises:
        UserError: the file does not exist, is damaged, or holds anything else.
        OSError: the file cannot be opened.

    Args:
        path: the file.
        kind: what the file is to be, for error messages.
        advice: what to do otherwise, for error messages.
    """
    if not is_there(path):
        raise UserError(f"There is no {kind} {path}; {advice}.")
    with path.open("rb"):
        pass  # Whatever fails from here on is due to the contents.
    try:
        content = read_archive(path)
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping")
        for name, value in values_in(content):
            if isinstance(value, Named):
                raise ValueError(f"{name:.50} is {value.name!r:.50}")
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(path, error, kind, advice) from error
    return content


def damaged(path: Path, error: Exception, kind: str, advice: str) -> UserError:
    """Returns the error that says that a file is damaged, and why."""
    if isinstance(error, MemoryError):
        return UserError(f"{path} does not fit into memory; free some, or {advice}.")
    reason = str(error) if isinstance(error, ValueError | BadZipFile) else type(error).__name__
    return UserError(f"{path} is no {kind} of gapclose, or is damaged ({one_line(reason)[:150]}); {advice}.")
