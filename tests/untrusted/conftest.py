"""A folder with all files that gapclose reads, and the check that a changed one ends a command in one sentence."""

import hashlib
import json
import logging
import os
import pickle
import shutil
import stat
import sys
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gapclose.data.replay import ReplayBuffer
from gapclose.runs.command_line import entry
from tests.runs.conftest import TINY, TINY_PLAN, is_one_sentence, trained, unrendered
from tests.untrusted.damages import Execute

__all__ = ["trained", "unrendered"]

PLAN = [*TINY_PLAN, "num_tasks=2", "data_dir=data"]
ADOPTING = [setting for setting in PLAN if not setting.startswith("data.")]
COMMANDS = {
    "plan": ["plan", *PLAN, "execute=[open_loop]", "checkpoint=model.ckpt", "hydra.run.dir=out/plan"],
    "settings": ["plan", *ADOPTING, "init=policy", "checkpoint=model.ckpt", "hydra.run.dir=out/settings"],
    "data": ["plan", *PLAN, "execute=[open_loop]", "model=oracle", "hydra.run.dir=out/data"],
    "diagnose": ["diagnose", *PLAN, "checkpoint=model.ckpt", "hydra.run.dir=out/diagnose"],
    "base": ["train", *TINY, "base_checkpoint=model.ckpt", "data_dir=data", "hydra.run.dir=out/base"],
    "baseline": ["train", *TINY, "data_dir=data", "hydra.run.dir=out/baseline"],
    "resume": ["train", "resume=unfinished"],
    "resume finished": ["train", "resume=run"],
}


def start(name: str) -> None:
    """Calls the entry point of one of the commands."""
    kind, *arguments = COMMANDS[name]
    sys.argv = [f"{kind}.py", *arguments]
    getattr(entry, kind)()


@pytest.fixture(scope="session")
def world(trained, tmp_path_factory):
    """A folder with a finished run, an unfinished one, their data, and files that hostile ones may refer to."""
    world = tmp_path_factory.mktemp("world")
    shutil.copytree(trained / "data", world / "data")
    shutil.copytree(trained / "run", world / "run")
    config = OmegaConf.load(world / "run/config.yaml")
    config.data_dir = "data"
    OmegaConf.save(config, world / "run/config.yaml")
    shutil.copytree(world / "run", world / "unfinished")
    (world / "unfinished/metrics.json").unlink()
    config.finetune.epochs = 4  # The checkpoint has 3.
    OmegaConf.save(config, world / "unfinished/config.yaml")
    shutil.copy(world / "run/checkpoints/last.ckpt", world / "model.ckpt")
    buffer = ReplayBuffer(100)
    buffer.add(torch.zeros(3, 5, 2), torch.zeros(3, 4, 2))
    buffer.save(world / "replay.pt")
    identity = dict(id="0" * 8, name="a", group=None, job_type="none", tags=["a"], notes="")
    (world / "run/wandb_run.json").write_text(json.dumps(identity))
    (world / "run/baseline").mkdir(exist_ok=True)
    (world / "run/baseline/metrics.csv").write_text("step,baseline/loss\n0,2\n1,1\n")
    (world / "precious").mkdir()
    (world / "precious/file").write_text("thesis")
    (world / "evil.pkl").write_bytes(pickle.dumps(Execute()))
    np.save(world / "evil.npy", np.array([Execute()], dtype=object), allow_pickle=True)
    torch.save(Execute(), world / "evil.pt")
    (world / "evil_module.py").write_text("open('executed', 'w')\n\ndef run(*args): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        for name, (kind, *arguments) in COMMANDS.items():
            patch.setattr(sys, "argv", [f"{kind}.py", *arguments, "hydra/job_logging=none", "hydra/hydra_logging=none"])
            composed[name] = pickle.dumps(compose(kind))
    (world / "out").mkdir(exist_ok=True)
    return world


composed: dict[str, bytes] = {}
"""The configuration of each command, and Hydra's, which are the same in all cases, as pickles."""


def compose(kind: str) -> tuple[Any, Any]:
    kept = []

    def keep(cfg):
        kept.append((cfg.copy(), HydraConfig.instance().cfg.copy()))

    hydra.main(version_base="1.3", config_path=str(entry.conf_dir()), config_name=kind)(keep)()
    return kept[0]


@pytest.fixture
def quick(monkeypatch):
    """Commands start with the configuration that was composed before, which is all that Hydra does for them."""

    def main(**_):
        def decorate(job):
            def start():
                name = next(name for name, command in COMMANDS.items() if command[1:] == sys.argv[1:])
                cfg, HydraConfig.instance().cfg = pickle.loads(composed[name])
                job(cfg)

            return start

        return decorate

    monkeypatch.setattr(hydra, "main", main)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Those of an earlier test may write into closed files.
    yield
    HydraConfig.instance().cfg = None


def listing(folder: str) -> dict[str, str]:
    """All files below a folder with their contents, but for those of new runs and locks."""
    found = {}
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if f"{here}/{name}" != f"{folder}/out" and name != "__pycache__"]
        for path in (f"{here}/{name}" for name in (*folders, *files) if not name.endswith(".lock")):
            known = os.lstat(path)
            if stat.S_ISREG(known.st_mode):
                found[path] = contents(path, known.st_ino, known.st_size, known.st_mtime_ns)
            else:
                found[path] = os.readlink(path) if stat.S_ISLNK(known.st_mode) else str(known.st_mode)
    return found


@cache
def contents(path: str, *_: int) -> str:
    """A checksum of a file, which is read again only if what is known of it without reading has changed."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def refused(world, quick, monkeypatch, capsys):
    """Checks that an entry refuses a changed file with one sentence that names it, and does nothing else."""
    monkeypatch.chdir(world)

    def check(pattern, entry, change) -> str:
        (path,) = world.glob(pattern)
        intact, mode = path.read_bytes(), path.stat().st_mode
        before = {}
        try:
            change(path)
            before = listing(str(world))
            capsys.readouterr()
            with pytest.raises(SystemExit) as stop:
                entry()
            said = capsys.readouterr().err
            assert stop.value.code == 1
            assert is_one_sentence(said), said
            assert path.relative_to(world).as_posix() in said
            assert listing(str(world)) == before
        finally:
            for made in listing(str(world)).keys() - before.keys() if before else ():
                os.remove(made)
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
            path.write_bytes(intact)
            path.chmod(mode)
        return said

    return check
