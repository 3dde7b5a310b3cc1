"""Damaged and hostile versions of files."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gapclose.stored import Loader

Change = Callable[[Path], None]


class Execute:
    """Makes the file `executed` when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def cut(share: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def content(text: bytes):
    return lambda path: path.write_bytes(text)


def replaced(make: Callable[[Path], Any]):
    def change(path):
        path.unlink()
        make(path)

    return change


def zipped_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Execute(), protocol=2))
        archive.writestr("archive/version", "3\n")


def compressed(path: Path) -> None:
    parts = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in parts.namelist():
            archive.writestr(name, parts.read(name))


def flip(place: float):
    def change(path):
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 4
        path.write_bytes(data)

    return change


def some(changes: dict[str, Change], *names: str) -> dict[str, Change]:
    """Some of the changes, by name."""
    return {name: changes[name] for name in names}


def all_of(changes: dict[str, Any], wrap: Callable[[Any], Change]) -> dict[str, Change]:
    """Changes of contents as changes of files."""
    return {name: wrap(change) for name, change in changes.items()}


def cases(by_entry: dict[str, list[dict[str, Change]]]) -> list:
    """The parameters of a test: each entry with each of its changes."""
    return [
        pytest.param(entry, change, id=f"{entry}: {name}")
        for entry, groups in by_entry.items()
        for changes in groups
        for name, change in changes.items()
    ]


DAMAGES = {
    "empty": content(b""),
    "cut in half": cut(0.5),
    "without its end": cut(0.98),
    "zeros": content(b"\0" * 1000),
    "not UTF-8": content(b"\xff\xfe\x80" * 100),
    "pickle": content(pickle.dumps(Execute(), protocol=2)),
    "zipped pickle": zipped_pickle,
    "folder": replaced(lambda path: path.mkdir()),
    "pipe": replaced(os.mkfifo),
    "link to nothing": replaced(lambda path: path.symlink_to("nowhere")),
    "link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "deeply nested JSON": content(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
}


def overlapping(path: Path) -> None:
    """Gives each part of a zip file the place of all parts behind it, too."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 20 : entry + 28] = len(data).to_bytes(4, "little") * 2  # Both sizes of the first part.
    path.write_bytes(data)


BINARY = {
    "flipped bit 1": flip(0.3),
    "flipped bit 2": flip(0.6),
    "compressed": compressed,
    "overlapping parts": overlapping,
}


def pickled(instructions: bytes):
    """Replaces all but the tensors in a file of PyTorch by the results of these instructions of a pickle."""

    def change(path):
        parts = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
        with zipfile.ZipFile(path, "w") as archive:
            for name in parts.namelist():
                intact = not name.endswith("/data.pkl")
                archive.writestr(name, parts.read(name) if intact else b"\x80\2" + instructions + b".")

    return change


def text(content: str) -> bytes:
    return b"X" + len(content).to_bytes(4, "little") + content.encode()


def stored_tensor(numbers: int, size: int) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"J%bt" % to_bytes(numbers)
    arguments = b"(" + storage + b"QK\0J%b\x85K\1\x85\x89}t" % to_bytes(size)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def to_bytes(number: int) -> bytes:
    return number.to_bytes(4, "little")


PICKLES = {
    "a key of tuples in tuples": b"K\1q\0" + b"h\0h\0\x86q\0" * 60 + b"}h\0K\1s",
    "a reference of tuples in tuples": b"K\1q\0" + b"h\0h\0\x86q\0" * 60 + b"h\0Q",
    "a call of tuples in tuples": b"K\1q\0" + b"h\0h\0\x86q\0" * 60 + b"h\0)R",
    "a mapping of pairs of tuples": b"K\1q\0"
    + b"h\0h\0\x86q\0" * 60
    + b"ccollections\nOrderedDict\nh\0K\1\x86\x85\x85R",
    "a key of long texts": text("a" * 10**6) + b"q\0}(" + b"h\0" * 10**5 + b"tK\1s",
    "texts that are doubled": text("a") + b"q\0" + b"c_codecs\nencode\nh\0h\0\x86Rq\0" * 60,
    "two billion bytes": b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    "a huge place in the memo": b"}r\xff\xff\xff\xff0",
    "a long text of nothing": b"X\xff\xff\xff\x7f",
    "tuples in a hundred thousand tuples": b")" + b"\x85" * 100_000,
    "lists in a hundred thousand lists": b"}K\1" + b"]" * 100_000 + b"a" * 99_999 + b"s",
    "a mapping in itself": b"}q\0K\1h\0s",
    "a list in itself": b"}K\1]q\0h\0as",
    "four million tensors": b"K\1" * 2**22,
    "a tensor that is longer than its part": b"}K\1" + stored_tensor(10**9, 10**9) + b"s",
    "a tensor of no numbers that grows": b"}K\1" + stored_tensor(0, 10**9) + b"s",
    "a class": b"}K\1ctorch\nFloatStorage\ns",
    "a file in the computer": b"}K\1("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("../../x")
    + text("cpu")
    + b"K\1tQs",
    "nothing on the stack": b"a",
    "no instruction": b"\xff",
}
"""Instructions of pickles. With many of them, `torch.load` takes time or memory without end, or crashes."""


def resaved(change: Callable[[dict], Any]):
    """Changes the contents of a checkpoint."""

    def apply(path):
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)

    return apply


def configured(change: Callable[[dict], Any]):
    """Changes the configuration in a checkpoint or in a run's folder."""

    def apply(path):
        if path.suffix == ".ckpt":
            resaved(lambda checkpoint: change(checkpoint["config"]))(path)
        else:
            config = yaml.load(path.read_text(), Loader)
            change(config)
            path.write_text(yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))

    return apply


# Configurations -------------------------------------------------------------------------------------------------------

TARGETS: dict[str, dict[str, Any]] = {
    "touch": {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": ["executed"]}]},
    "torch.load": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    "numpy.load": {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True},
    "read_pickle": {"_target_": "pandas.read_pickle", "filepath_or_buffer": "evil.pkl"},
    "open": {"_target_": "builtins.open", "_args_": ["executed", "w"]},
    "eval": {"_target_": "builtins.eval", "_args_": ["open('executed', 'w')"]},
    "system": {"_target_": "os.system", "_args_": ["touch executed"]},
    "run": {"_target_": "subprocess.run", "_args_": [["touch", "executed"]]},
    "rmtree": {"_target_": "shutil.rmtree", "_args_": ["precious"]},
    "remove": {"_target_": "os.remove", "_args_": ["precious/file"]},
    "module in the folder": {"_target_": "evil_module.run"},
    "prefix": {"_target_": "gapclose.envs.wall.torch.load", "f": "evil.pt", "weights_only": False},
    "attribute": {
        "_target_": "gapclose.files.Path.touch",
        "_args_": [{"_target_": "pathlib.Path", "_args_": ["executed"]}],
    },
    "hydra": {
        "_target_": "hydra.utils.instantiate",
        "_args_": [{"_target_": "os.system", "_args_": ["touch executed"]}],
    },
    "get_object": {"_target_": "hydra.utils.get_object", "path": "evil_module.run"},
    "partial": {"_target_": "os.system", "_partial_": True, "command": "touch executed"},
    "number": {"_target_": 5},
    "list": {"_target_": ["os.system"]},
    "empty": {"_target_": ""},
    "null": {"_target_": None},
    "class of another group": {"_target_": "lightning.Trainer", "default_root_dir": "executed"},
}
PLACES = ("data.behaviour", "env.more", "encoder", "model", "objective", "policy.network")
VALUES = {
    "null": None,
    "text": "x",
    "a list": [1],
    "a number": 5,
    "empty": {},
    "missing value": {"_target_": "gapclose.envs.wall.Wall", "x_max": "???"},
    "wrong type": {"_target_": "gapclose.envs.wall.Wall", "action_max": "much"},
    "NaN": {"_target_": "gapclose.envs.wall.Wall", "action_max": float("nan")},
    "huge number": {"_target_": "gapclose.envs.wall.Wall", "action_max": 10**400},
    "unknown setting": {"_target_": "gapclose.envs.wall.Wall", "more": 1},
    "a key that is no text": {None: 1},
}


def at(place: str, value: Any):
    """Changes a configuration at a dotted place."""

    def change(config):
        *parents, name = place.split(".")
        for parent in parents:
            config = config[parent]
        config[name] = deepcopy(value)

    return change


CONFIGS = {
    **{f"env is {name}": at("env", target) for name, target in TARGETS.items()},
    **{f"env is {name}": at("env", value) for name, value in VALUES.items()},
    "twenty thousand settings": at("env.more", list(range(20_000))),
    **{f"touch in {place}": at(place, TARGETS["touch"]) for place in PLACES},
}
"""Changes of the settings that checkpoints and run folders have in common."""
