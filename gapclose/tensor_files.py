"""Reads files of `torch.save` that may come from a stranger: nothing in them is executed, and all is checked."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from gapclose.errors import UserError
from gapclose.explanation import one_line
from gapclose.files import is_there
from gapclose.nested import values_in


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
        require_intact(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping")
        for name, value in values_in(content):
            if isinstance(value, Tensor):
                require_dense(name, value)
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise damaged(path, error, kind, advice) from error
    return content


def damaged(path: Path, error: Exception, kind: str, advice: str) -> UserError:
    """Returns the error that says that a file is damaged, and why."""
    reason = str(error) if isinstance(error, ValueError | BadZipFile) else type(error).__name__
    return UserError(f"{path} is no {kind} of gapclose, or is damaged ({one_line(reason)[:150]}); {advice}.")


def require_intact(path: Path) -> None:
    """Compares the parts of a file with their checksums, which PyTorch writes but does not compare.

    Raises:
        ValueError: a part has been altered, or is compressed, so that its size is not bounded by that of the file.
        BadZipFile: the file is no zip archive.
    """
    with ZipFile(path) as archive:
        if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed")
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts overlap")
        altered = archive.testzip()
    if altered:
        raise ValueError(f"the checksum of {altered} does not match")


def require_dense(name: str, value: Any) -> None:
    """Raises `ValueError` unless the value is a dense tensor of real numbers."""
    # A stored tensor may have attributes of its own, which would hide its methods.
    plain = type(value) in (Tensor, torch.nn.Parameter) and not vars(value)
    if not plain or value.is_nested or value.layout != torch.strided:
        raise ValueError(f"{name!r:.50} is no dense tensor")
    if value.device.type != "cpu" or value.is_quantized or value.is_complex():
        raise ValueError(f"{name!r:.50} holds no real numbers")
    # An expanded tensor has more elements than the file; a copy of it might not fit into memory.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{name!r:.50} is larger than its data")
