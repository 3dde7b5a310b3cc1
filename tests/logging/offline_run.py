"""Reads back what an offline W&B run has written: all that the tests know about W&B's own file is here."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Record]:
    """The records of a .wandb file, which is a LevelDB log: chunks in blocks, each with checksum, length and kind."""
    data, position, content = path.read_bytes(), FILE_HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        content += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield Record.FromString(content)
            content = b""


def values(items) -> dict[str, Any]:
    """Items of a config, summary or history record by name."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


class OfflineRun(NamedTuple):
    """One offline folder of a W&B run.

    Attributes:
        folder: the folder.
        run: the record of what the run is.
        config: as it was at the end.
        axes: of each metric that was defined, by its name or pattern.
        best: which values of a metric's curve the summary holds, by its name.
        history: the rows, less W&B's own columns except `_step`.
        summary: as it was at the end.
        artifacts: their records.
        exit_code: none if the run was never finished.
    """

    folder: Path
    run: Any
    config: dict[str, Any]
    axes: dict[str, str]
    best: dict[str, set[str]]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: list[Any]
    exit_code: int | None

    def curve(self, name: str, axis: str) -> list[tuple[float, float]]:
        """The points of a curve, in the order in which they were logged."""
        return [(row[axis], row[name]) for row in self.history if name in row]

    def media(self) -> dict[str, Path]:
        """The files of tables, pictures and videos by the name that they were logged under."""
        paths = {name: value for row in self.history for name, value in row.items() if name.endswith("/path")}
        return {name.removesuffix("/path"): self.folder / "files" / path for name, path in paths.items()}


def read(folder: Path) -> OfflineRun:
    """Reads the run in an offline folder."""
    found: dict[str, Any] = dict(
        run=None, config={}, axes={}, best={}, history=[], summary={}, artifacts=[], exit_code=None
    )
    for record in records(next(folder.glob("*.wandb"))):
        kind = record.WhichOneof("record_type")
        content = getattr(record, kind)
        if kind == "run":
            found["run"] = content
        elif kind in ("config", "summary"):
            found[kind] |= values(content.update)
        elif kind == "metric":
            name = content.name or content.glob_name
            found["axes"][name] = content.step_metric
            found["best"][name] = {option for option in ("min", "max", "last") if getattr(content.summary, option)}
        elif kind == "history":
            row = values(content.item)
            found["history"].append({name: row[name] for name in row if name not in ("_timestamp", "_runtime")})
        elif kind == "artifact":
            found["artifacts"].append(content)
        elif kind == "exit":
            found["exit_code"] = content.exit_code
    return OfflineRun(folder, **found)


def runs_of(folder: Path) -> list[OfflineRun]:
    """Reads all offline folders of the run of train.py in a folder, the earliest first."""
    return [finished(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]


def finished(folder: Path) -> OfflineRun:
    """The run in an offline folder, once W&B's own process has written its end."""
    for _ in range(100):
        run = read(folder)
        if run.exit_code is not None:
            return run
        time.sleep(0.1)
    raise AssertionError(f"The run in {folder} has not been finished.")
