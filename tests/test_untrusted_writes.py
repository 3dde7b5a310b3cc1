"""Full disks, missing permissions, links and the remains of killed processes."""

import errno
import os
import random
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError

from gapclose.data.behaviours import Expert
from gapclose.data.collect import CollectedData
from gapclose.data.replay import ReplayBuffer
from gapclose.errors import UserError
from gapclose.explanation import explain
from gapclose.files import replacing, write_json
from gapclose.report.record import write_arrays
from gapclose.training.checkpoint import AtomicCheckpointIO, read_checkpoint
from tests.runs.conftest import TINY, call, is_one_sentence, trained, unrendered  # noqa: F401

FULL = {
    "Python": OSError(errno.ENOSPC, "No space left on device"),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "PyTorch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
    "PyTorch at the end": RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed"),
}
"""The errors of libraries on a full disk."""


@pytest.mark.parametrize("library", FULL)
def test_a_full_disk_is_one_sentence_with_the_path_and_leaves_the_old_file(library, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise FULL[library]

    with pytest.raises(OSError, match="file") as raised:
        write()
    assert str(path) in explain(raised.value)
    assert ("free space there" in explain(raised.value)) == (raised.value.errno == errno.ENOSPC)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


WRITERS = {
    "checkpoint": lambda path: AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, path),
    "replay": lambda path: filled_buffer().save(path),
    "data": lambda path: filled_buffer().trajectories.save(path),
    "arrays": lambda path: write_arrays(path, {"a": np.random.default_rng(0).random(100_000)}),
    "json": lambda path: write_json(path, {"a": "b" * 200_000}),
}


def filled_buffer() -> ReplayBuffer:
    buffer = ReplayBuffer(100_000)
    buffer.add(torch.zeros(200, 101, 2), torch.zeros(200, 100, 2))
    return buffer


@pytest.mark.parametrize("kind", WRITERS)
def test_libraries_that_cannot_write_on_raise_errors_that_are_recognised(kind, tmp_path):
    """A limit on the size of files stands for a full disk; in a process of its own, as it cannot be raised again."""
    process = os.fork()
    if not process:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            WRITERS[kind](tmp_path / "file")
        except BaseException as error:
            os._exit(0 if str(tmp_path / "file") in (explain(error) or "") and not os.listdir(tmp_path) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_files_have_the_mode_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        for kind, write in WRITERS.items():
            write(tmp_path / kind)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_nothing_in_a_folder_that_a_link_leads_to_is_deleted(call, trained):  # noqa: F811
    (name,) = (path.stem for path in trained.glob("data/baselines/*.ckpt"))
    Path("precious").mkdir()
    Path("precious/thesis").write_text("mine")
    Path("data/baselines").mkdir(parents=True)
    Path(f"data/baselines/{name}").symlink_to(Path("precious").absolute())
    assert call("train", *TINY, "finetune=none", "data_dir=data", "hydra.run.dir=run").code == 0
    assert Path(f"data/baselines/{name}.ckpt").is_file()
    assert Path("precious/thesis").read_text() == "mine"
    assert Path(f"data/baselines/{name}").is_symlink()


LINKS = ["train.log", ".lock", ".hydra", "checkpoints", "compare", "compare/planner-cem", ".hydra/config.yaml"]


@pytest.mark.parametrize("name", [*LINKS, "a pipe", "a sweep"])
def test_a_run_does_not_write_through_links_in_its_folder(name, call, trained, tmp_path):  # noqa: F811
    folder = Path("sweep/job" if name == "a sweep" else "run")
    shutil.copytree(trained / "run", folder, ignore=shutil.ignore_patterns("metrics.json"))
    Path("sweep").mkdir(exist_ok=True)
    Path("sweep/multirun.yaml").touch()
    place = folder / {"a pipe": "train.log", "a sweep": "checkpoints"}.get(name, name)
    is_folder = place.suffix == "" and place.name != ".lock"
    (Path("precious/thesis") if is_folder else Path("precious")).mkdir(parents=True)
    Path("precious/file").write_text("mine")
    shutil.rmtree(place, ignore_errors=True)
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    if name == "a pipe":
        os.mkfifo(place)
    else:
        place.symlink_to((tmp_path / "precious" / ("thesis" if is_folder else "file")).absolute())
    command = ["-m", *TINY, "seed=0,1", "hydra.sweep.dir=sweep"] if name == "a sweep" else ["resume=run"]
    answer = call("train", *command)
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert str(place) in answer.err
    assert sorted(path.name for path in Path("precious").rglob("*")) == sorted(["file"] + ["thesis"] * is_folder)
    assert Path("precious/file").read_text() == "mine"


def test_the_folder_of_a_run_may_be_a_link_and_have_links_within(call, trained):  # noqa: F811
    shutil.copytree(trained, "disk")
    Path("run").symlink_to("disk/run")
    Path("run/train.log").rename("run/first.log")
    Path("run/train.log").symlink_to("first.log")
    answer = call("train", "resume=run")
    assert (answer.code, "is finished already" in answer.out) == (0, True)


def test_a_resumed_run_removes_no_file_that_its_checkpoint_names(call, trained):  # noqa: F811
    shutil.copytree(trained / "run", "run")
    Path("run/metrics.json").unlink()
    config = OmegaConf.load("run/config.yaml")
    config.finetune.epochs = 4  # The checkpoint has 3.
    OmegaConf.save(config, "run/config.yaml")
    Path("thesis").write_text("mine")
    path = Path("run/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    states = [state for state in checkpoint["callbacks"].values() if "best_model_path" in state]
    for state in states:
        state.update(best_model_path="thesis", kth_best_model_path="thesis", last_model_path="thesis")
        state.update(best_k_models={"thesis": torch.tensor(1e9)}, best_model_score=torch.tensor(1e9))
    assert len(states) == 2
    torch.save(checkpoint, path)
    assert call("train", "resume=run").code == 0
    assert Path("thesis").read_text() == "mine"


def test_the_next_writer_removes_what_killed_ones_left_and_nothing_else(tmp_path, wall):
    data = CollectedData(tmp_path, Expert(0.1), num_trajectories=10, steps=3)
    path = data.path(wall)
    remains, others = [f".{path.name}.7.partial", f".{path.name}.8.partial"], [".other.7.partial", ".mine.partial"]
    for name in (*remains, *others):
        (tmp_path / name).touch()
    data.load(wall)
    assert set(os.listdir(tmp_path)) - {f"{path.name}.lock"} == {path.name, *others}


def test_a_run_removes_what_killed_ones_left_in_its_folder(call, trained):  # noqa: F811
    (name,) = (path.stem for path in trained.glob("data/baselines/*.ckpt"))
    shared = Path("data/baselines", name)
    remains = [
        shared / ".last.ckpt.7.partial",
        Path("run/.metrics.json.7.partial"),
        Path("run/checkpoints/.last.ckpt.7.partial"),
        Path("run/compare/planner-cem/.plans.png.7.partial"),
    ]
    for path in remains:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert call("train", *TINY, "finetune=none", "data_dir=data", "hydra.run.dir=run").code == 0
    assert not [path for path in remains if path.exists()]
    assert not shared.exists()


def test_a_flipped_bit_in_a_shared_model_is_found_or_changes_no_weight(trained, tmp_path):  # noqa: F811
    (path,) = trained.glob("data/baselines/*.ckpt")
    intact, weights = path.read_bytes(), read_checkpoint(path)["state_dict"]
    draw, found, copy = random.Random(0), 0, tmp_path / "copy.ckpt"
    for _ in range(300):
        data = bytearray(intact)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        copy.write_bytes(data)
        try:
            held = read_checkpoint(copy)["state_dict"]
        except UserError:
            found += 1
        else:
            assert held.keys() == weights.keys()
            assert all(torch.equal(held[name], weights[name]) for name in weights)
    assert found > 100
