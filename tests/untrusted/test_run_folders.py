"""Hostile and damaged files in the folders of runs and sweeps."""

import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gapclose.errors import reporting_errors
from gapclose.logging.identity import Identity
from gapclose.report.__main__ import main as report
from gapclose.runs.setup.optimized_metric import optimized_value
from gapclose.sweeps.__main__ import main as sweeps
from tests.runs.permissions import bound_by_permissions
from tests.untrusted.conftest import start
from tests.untrusted.damages import CONFIGS, DAMAGES, TARGETS, Execute, all_of, at, cases, configured, content, some


def load_identity() -> None:
    with reporting_errors():
        Identity.of(Path("run"), None)


def read_metric() -> None:
    with reporting_errors():
        optimized_value(Path("run"), "finetuned/expert_error")


def write_report() -> None:
    sys.argv = ["gapclose.report", "run"]
    report()


ENTRIES = {
    "config": ("unfinished/config.yaml", partial(start, "resume")),
    "config of a finished run": ("run/config.yaml", partial(start, "resume finished")),
    "identity": ("run/wandb_run.json", load_identity),
    "plans": ("run/plans.npz", write_report),
    "maps": ("run/maps.npz", write_report),
    "metrics": ("run/metrics.json", write_report),
    "metric of a search": ("run/metrics.json", read_metric),
    "losses": ("run/baseline/metrics.csv", write_report),
    "settings of a report": ("run/config.yaml", write_report),
    "command of a report": ("run/.hydra/overrides.yaml", write_report),
}
"""The file that each entry reads, and how to start the entry."""

PLACES = ("init", "baseline.module.optimizer", "trainer", "finetune.rollouts.planner", "planner", "mpc")
RUN_CONFIGS = {
    **CONFIGS,
    **{f"touch in {place}": at(place, TARGETS["touch"]) for place in PLACES},
    **{
        f"{key} is text": at(key, "x")
        for key in ("seed", "trainer", "evaluation", "choices", "finetune", "logger", "explorer")
    },
    **{f"no {key}": lambda config, key=key: config.pop(key) for key in ("planner", "data", "trainer", "evaluation")},
    "compared is a list": at("compared", [1]),
    "a huge seed": at("seed", 10**30),
}

YAML_FILES = {
    "YAML that makes objects": b"env: !!python/object/apply:os.system ['touch executed']\n",
    "YAML with a cycle": b"env: &a [*a]\n",
    "YAML with many aliases": b"a0: &a0 [0]\n"
    + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60)),
    "YAML deeply nested": b"env: " + b"[" * 5000 + b"]" * 5000,
    "YAML cut": b"env: [1, {",
    "YAML of two megabytes": b"env: [" + b"1," * 2**20 + b"]",
    "a list": b"- 1\n",
    "a text": b"hello\n",
}

IDENTITY = {
    "a list": content(b"[1]"),
    "null": content(b"null"),
    "no id": content(b'{"name": "a"}'),
    "numbers": content(b'{"id": 1, "name": 2, "group": 3, "job_type": 4, "tags": 5, "notes": 6}'),
    "a path": content(b'{"id": "../../x", "name": "a", "group": null, "job_type": "a", "tags": [], "notes": ""}'),
    "more": content(b'{"id": "00000000", "name": "", "group": null, "job_type": "", "tags": [], "notes": "", "x": 1}'),
}


def objects(path: Path) -> None:
    np.savez(path, **{"world/start": np.array([Execute()], dtype=object)})


def arrays(change):
    """Changes the arrays of a file."""

    def apply(path):
        held = dict(np.load(path))
        change(held)
        np.savez_compressed(path, **held)

    return apply


def all_as(kind: str):
    """Converts all numbers of a file to another type, in which they are as large as possible."""

    def change(held):
        held |= {name: array.astype(kind) for name, array in held.items() if array.dtype.kind == "f"}

    return arrays(change)


def long_plans(held) -> None:
    """Gives the plans of one task two million steps."""
    for name, array in [*held.items()]:
        if name in ("world/start", "world/goal") or name.startswith("baseline/open_loop/"):
            held[name] = (
                array[:1].repeat(500_000, 1)[:, : 2_000_000 + (array.ndim == 3)] if array.ndim > 1 else array[:1]
            )


def large_maps(held) -> None:
    held.clear()
    held |= {"errors/edges": np.zeros((2, 2001)), "errors/baseline": np.zeros((2000, 2000))}


ARRAYS = {
    "pickled objects": objects,
    "other arrays": lambda path: np.savez(path, a=np.zeros(2)),
    "long doubles": all_as("g"),
    "numbers of another machine": all_as(">f4"),
    "complex numbers": all_as("c8"),
    "too many arrays": arrays(lambda held: held.update({str(number): np.zeros(1) for number in range(1000)})),
    "too many bytes": arrays(lambda held: held.update(zeros=np.zeros(2**27, np.uint8))),
}
PLANS = {
    "endless radius": arrays(lambda held: held.update({"world/success_radius": np.float32(np.inf)})),
    "huge radius": arrays(lambda held: held.update({"world/success_radius": np.float64(1e308)})),
    "long outline": arrays(lambda held: held.update({"world/outline": held["world/outline"].repeat(10_000, 0)})),
    "long plans": arrays(long_plans),
}
MAPS = {"large maps": arrays(large_maps)}

METRICS = {
    "a list": content(b"[1]"),
    "null": content(b"null"),
    "of no run": content(b'{"a": 1}'),
    "of text": content(b'{"finetune": "online", "seed": "x", "finetuned": {}}'),
    "of infinite values": content(b'{"finetune": "online", "seed": 1e999, "finetuned": {}}'),
    "half": content(b'{"finetune": "online", "seed": 0, "finetuned": {"expert_error": 1.0}}'),
    "too large": content(b"[" + b"[]," * 3_000_000 + b"[]]"),
}


def cells(old: str, new: str):
    """Replaces a pattern in tasks.csv."""
    return lambda path: path.write_text(re.sub(old, new, path.read_text()))


TASKS = {
    "many columns": content(",".join(f"column{number}" for number in range(100_000)).encode() + b"\n"),
    "many lines": content(b"\n" * 2_000_000),
    "huge errors": cells(r"[^,]+\n(.*)$", r"1e300\n\1"),
    "negative errors": cells(r"([\d.e-]+\n)", r"-\1"),
    "long integers": cells(r"[\d.e-]+\n", "9" * 400 + "\n"),
}
# Half of a YAML file may be a YAML file, too.
DAMAGES_OF_YAML = some(
    DAMAGES, "zeros", "not UTF-8", "pickle", "folder", "pipe", "link to nothing", "deeply nested JSON"
)
CONFIGURATIONS, YAML = all_of(RUN_CONFIGS, configured), all_of(YAML_FILES, content)
CASES = {
    "config": [DAMAGES, CONFIGURATIONS, YAML],
    "config of a finished run": [
        DAMAGES,
        some(CONFIGURATIONS, "env is touch", "env is null", "touch in init", "no data"),
        some(YAML, "YAML that makes objects"),
    ],
    "identity": [DAMAGES, IDENTITY],
    "plans": [DAMAGES, ARRAYS, PLANS],
    "maps": [DAMAGES, {name: change for name, change in ARRAYS.items() if name != "other arrays"}, MAPS],
    "metrics": [DAMAGES, METRICS],
    "metric of a search": [some(DAMAGES, "cut in half", "pipe", "deeply nested JSON"), METRICS],
    "losses": [some(DAMAGES, "not UTF-8", "folder", "pipe")],
    "settings of a report": [DAMAGES_OF_YAML, YAML],
    "command of a report": [DAMAGES_OF_YAML, {name: change for name, change in YAML.items() if name != "a list"}],
}


@pytest.mark.parametrize(("entry", "change"), cases(CASES))
def test_one_sentence_names_the_file_and_nothing_else_happens(entry, change, refused):
    refused(*ENTRIES[entry], change)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_file_without_permission_is_not_called_damaged(entry, refused):
    pattern, start = ENTRIES[entry]
    said = refused(pattern, bound_by_permissions()(start), lambda path: path.chmod(0))
    assert "Permission denied" in said
    assert "damaged" not in said
    assert "elete" not in said


@pytest.fixture
def sweep(world, monkeypatch):
    """Summarizes a sweep of an intact run and of one for each change of a file; returns those without results."""

    def summarize(name, changes) -> dict[str, str]:
        folder = world / "out/sweep"
        shutil.rmtree(folder, ignore_errors=True)
        for run in ("intact", *changes):
            shutil.copytree(world / "run", folder / run, ignore=shutil.ignore_patterns("checkpoints"))
        for run, change in changes.items():
            change(folder / run / name)
        monkeypatch.chdir(world)
        monkeypatch.setattr(sys, "argv", ["gapclose.sweeps", "out/sweep"])
        bound_by_permissions()(sweeps)()
        assert not (world / "executed").exists()
        table = pd.read_csv(folder / "failures.csv", keep_default_na=False)
        return {folder: f"{state}: {reason}" for folder, state, reason in table.itertuples(index=False)}

    return summarize


@pytest.mark.parametrize("name", ["metrics.json", "tasks.csv"])
def test_a_damaged_run_of_a_sweep_is_named_and_the_others_are_read(name, sweep):
    changes = DAMAGES | (METRICS if name == "metrics.json" else TASKS)
    states = sweep(name, {**changes, "without permission": lambda path: path.chmod(0)})
    assert states.pop("without permission") == f"unreadable: {name}: Permission denied"
    assert states.keys() == changes.keys()
    for state in states.values():
        assert state.startswith(("damaged: ", "unreadable: ", "left out: it is not a run of train.py"))
        assert name in state or state.startswith("left out")
        assert len(state) < 300


@pytest.mark.parametrize("name", ["config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml"])
def test_the_other_files_of_a_run_of_a_sweep_may_be_damaged(name, sweep):
    states = sweep(name, {**DAMAGES, **YAML, "without permission": lambda path: path.chmod(0)})
    file = Path(name).name
    assert states.pop("without permission") == f"unreadable: {file}: Permission denied"
    assert states.pop("link to itself").startswith(f"unreadable: {file}: Too many levels")
    assert all(state.startswith("left out: it repeats ") for state in states.values())


def failed(change):
    """Makes a run one that has failed, and changes its error."""

    def apply(folder):
        (folder / "metrics.json").unlink()
        change(folder / "error.txt")

    return apply


def nested(folder: Path) -> None:
    """Makes folders inside each other."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.joinpath(*["f"] * 100).mkdir(parents=True)


FOLDERS = {
    "folder without permission": (lambda folder: folder.chmod(0), "unreadable: folder without permission: Permission"),
    "folder that cannot be listed": (lambda folder: folder.chmod(0o111), "unreadable: folder that cannot be listed: P"),
    "folder that cannot be searched": (lambda folder: folder.chmod(0o444), "unreadable: metrics.json: Permission"),
    "nested": (nested, "unreadable: f: Too many levels of folders"),
    "long error": (failed(content(b"x" * 2_000_000)), "failed: xxx"),
    "error of many lines": (failed(content(b"x\n" * 2_000_000)), "failed: x"),
    "error is a pipe": (failed(os.mkfifo), "failed: "),
    "error without permission": (failed(lambda path: path.touch(0)), "unreadable: error.txt: Permission denied"),
}


def test_each_folder_that_cannot_be_read_has_a_line_and_the_report_of_the_others_is_made(sweep, monkeypatch):
    try:
        states = sweep(".", {name: change for name, (change, _) in FOLDERS.items()})
        found = {name.partition("/")[0]: state for name, state in states.items()}
        assert found.keys() == FOLDERS.keys()
        for name, (_, begin) in FOLDERS.items():
            assert found[name].startswith(begin)
            assert len(found[name]) < 1100
        monkeypatch.setattr(sys, "argv", ["gapclose.report", "out/sweep"])
        bound_by_permissions()(report)()
        assert "folder without permission" in Path("out/sweep/report.html").read_text()
    finally:
        for folder in Path("out/sweep").iterdir():
            folder.chmod(0o755)
