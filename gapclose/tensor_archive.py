"""Reads the zip archives of `torch.save` without unpickling: nothing that a file names is imported or called.

`torch.load(weights_only=True)` executes nothing of the file, either, but it hashes, prints and multiplies whatever a
crafted pickle holds, which takes endless time or memory. Here, a pickle is a list of instructions that make numbers,
texts, lists, mappings and dense tensors, and each costs no more than its bytes in the file.
"""

import math
import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

LARGEST_PICKLE = 2**22
"""Maximum size in bytes of what a file holds besides the numbers of its tensors; checkpoints have about 20 000."""
TYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""Types of numbers, by the name of their storage in PyTorch."""
STORAGES = {f"torch {name}Storage": dtype for name, dtype in TYPES.items()}


@dataclass(frozen=True)
class Named:
    """A class or function that the file names."""

    name: str


def read_archive(path: Path) -> Any:
    """Reads a file of `torch.save`.

    Returns:
        Nested mappings, lists and tuples of numbers, texts, `None` and dense tensors on the CPU. No tensor is larger
        than its data.

    Raises:
        ValueError: the file has been altered, or holds anything else; likewise errors of any kind for other damages.
        BadZipFile: the file is no zip archive.
    """
    with ZipFile(path) as archive:
        require_intact(archive, path.stat().st_size)
        parts = {part.filename: part for part in archive.infolist()}
        (root,) = (name.removesuffix("/data.pkl") for name in parts if name.endswith("/data.pkl"))
        if parts[f"{root}/data.pkl"].file_size > LARGEST_PICKLE:
            raise ValueError("it holds too much besides its tensors")
        if f"{root}/byteorder" in parts and archive.read(f"{root}/byteorder") != sys.byteorder.encode():
            raise ValueError("it is from a machine with another order of bytes")
        storages: dict[str, Tensor] = {}

        def storage(dtype: torch.dtype, key: str, size: int) -> Tensor:
            if key not in storages:
                part = parts[f"{root}/data/{key}"]
                if part.file_size != size * dtype.itemsize:
                    raise ValueError(f"a tensor has {part.file_size} bytes instead of {size * dtype.itemsize:.5g}")
                storages[key] = torch.frombuffer(bytearray(archive.read(part)), dtype=dtype) if size else torch.empty(0)
            return storages[key].view(dtype)

        return run(archive.read(f"{root}/data.pkl"), storage)


def require_intact(archive: ZipFile, size: int) -> None:
    """Compares the parts of a file with their checksums.

    Raises:
        ValueError: a part has been altered, or the memory that the parts take is not bounded by the size of the file.
    """
    if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
        raise ValueError("it is compressed")
    if sum(part.file_size for part in archive.infolist()) > size:
        raise ValueError("its parts overlap")
    altered = archive.testzip()
    if altered:
        raise ValueError(f"the checksum of {altered} does not match")


def run(pickled: bytes, storage: Callable[[torch.dtype, str, int], Tensor]) -> Any:
    """Runs the instructions of a pickle.

    Args:
        pickled: the pickle.
        storage: returns the numbers with this type, key and length, as a tensor with one axis.

    Raises:
        ValueError: it has an instruction, or names a class, that no file of tensors and plain data needs.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_marked() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    def pop(count: int) -> list[Any]:
        marks.append(len(stack) - count)
        return pop_marked()

    for operation, argument, _ in pickletools.genops(pickled):
        match operation.name:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation.name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[operation.name]())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(operation.name[-1]))))
            case "APPEND" | "APPENDS":
                items = pop(1) if operation.name == "APPEND" else pop_marked()
                of_kind(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = pop(2) if operation.name == "SETITEM" else pop_marked()
                keys = [of_kind((str, int), key) for key in items[::2]]
                of_kind(dict, stack[-1]).update(zip(keys, items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(Named(argument))
            case "BINPERSID":
                stack.append(stored(stack.pop(), storage))
            case "REDUCE":
                function, arguments = pop(2)
                stack.append(made(function, arguments))
            case "BUILD":  # Attributes of a mapping: the versions of the modules in a state_dict.
                of_kind(dict, stack[-2])
                stack.pop()
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"it holds the instruction {other}")
    raise ValueError("it has no end")


def of_kind(kind: type | tuple[type, ...], value: Any) -> Any:
    """Returns the value if it is of this kind."""
    if not isinstance(value, kind):
        raise ValueError(f"it holds a {type(value).__name__} in a wrong place")
    return value


def stored(reference: Any, storage: Callable[[torch.dtype, str, int], Tensor]) -> Tensor:
    """Returns the numbers that a reference in the pickle stands for."""
    match reference:
        case ("storage", Named(name), str(key), str(_device), int(size)) if name in STORAGES and 0 <= size < 2**63:
            return storage(STORAGES[name], key, size)
        case ("storage", Named(name), *_):
            raise ValueError(f"it holds numbers of the type {name!r:.60}")
    raise ValueError("it refers to something that is no storage")


def made(function: Any, arguments: Any) -> Any:
    """Returns what calling a function that the file names would make: a mapping or a tensor."""
    match function, arguments:
        case Named("collections OrderedDict"), ():
            return {}
        case Named("torch._utils _rebuild_tensor_v2"), (Tensor() as held, int(start), tuple(size), tuple(stride), _, _):
            if not all(isinstance(number, int) and number >= 0 for number in (start, *size, *stride)):
                raise ValueError("a tensor has a shape that is no list of numbers")
            # Otherwise a copy of it might not fit into memory.
            if math.prod(size) > held.numel():
                raise ValueError("a tensor is larger than its data")
            return held.as_strided(size, stride, start)
        case Named("torch._utils _rebuild_parameter"), (Tensor() as held, *_):
            return held
        case Named(name), _:
            raise ValueError(f"it calls {name!r:.80}, which makes neither dense tensors nor plain data")
    raise ValueError("it calls something that has no name")
