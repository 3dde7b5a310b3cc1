"""Compositions that share files and choices of options give what plain Hydra gives."""

import json
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gapclose.conf_files import conf_dir
from gapclose.runs.command_line.composition import PATCHED, composing_once

COMMANDS = [
    ["finetune=online", "model=mlp", "+trainer.benchmark=true"],
    ["hydra.mode=MULTIRUN", "seed=1"],
    ["-m", "finetune=online", "model=mlp", "seed=0,1", "finetune.epochs=7"],
    ["finetune=online", "model=mlp", "~trainer.accelerator"],
    ["~objective", "finetune=online", "model=mlp", "seed=4"],
    ["planner=???"],
    ["-m", "planner=???", "seed=0,1"],
    ["planner@other=cem"],
]
PLAIN = [(owner, name, getattr(owner, name)) for owner, name in PATCHED]
"""Hydra's own functions: later, all tests in this process run with others."""


def configurations(command):
    """What the jobs of a command are given, Hydra's part included; or the error."""
    given = []

    def job(config):
        parts = [OmegaConf.to_container(part, resolve=True) for part in (config, HydraConfig.get())]
        given.append(json.loads(json.dumps(parts, default=str)))

    sys.argv = ["train.py", *command, "hydra.run.dir=run", "hydra.sweep.dir=sweep"]  # Not named by the time.
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return given


def test_jobs_are_given_what_plain_hydra_gives_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with monkeypatch.context() as patch:
        for function in PLAIN:
            patch.setattr(*function)
        plain = [configurations(command) for command in COMMANDS]
    assert [len(jobs) for jobs in plain if isinstance(jobs, list)] == [1, 1, 2, 1, 1]
    with composing_once():
        for command, expected in zip(COMMANDS, plain):
            assert configurations(command) == expected, command
