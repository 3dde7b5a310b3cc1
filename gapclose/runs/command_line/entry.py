"""What the command-line entry points share: the configuration folder, and errors in one sentence."""

import gc
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import gapclose
from gapclose.errors import Interrupted, fail
from gapclose.explanation import explain, one_line
from gapclose.overrides import key_of
from gapclose.runs.command_line import multirun
from gapclose.runs.command_line.composition import composing_once, reading_once


def conf_dir() -> Path:
    """The folder of the Hydra configuration: inside the installed package, or beside it in a checkout."""
    package = Path(gapclose.__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def run_dir(resume: str | None) -> str:
    """The Hydra run directory: that of the run to resume, or a new one named by time and process."""
    if resume is not None and (Path(resume) / "config.yaml").is_file():
        return resume
    return f"outputs/{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}"


def output_subdir(resume: str | None) -> str | None:
    """Where Hydra leaves the command line below the run's folder; nowhere if that has the one that started the run."""
    return ".hydra" if resume is None else None


OmegaConf.register_new_resolver("output_subdir", output_subdir, replace=True)
OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)


def train() -> None:
    """`python train.py` and `gapclose-train`."""
    launch("train")


def plan() -> None:
    """`python plan.py` and `gapclose-plan`."""
    launch("plan")


def diagnose() -> None:
    """`python -m gapclose.diagnose` and `gapclose-diagnose`."""
    launch("diagnose")


@dataclass
class Job:
    """What Hydra calls with the configuration of a run, perhaps in a process of a launcher, which it is pickled for.

    Attributes:
        name: of the module in `gapclose.runs.jobs` that runs it.
        composed: whether this process has had a configuration to run.
    """

    name: str
    composed: bool = False

    def __call__(self, cfg: DictConfig) -> Any:
        self.composed = True
        quiet()
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return multirun.run_job(self.run, cfg, skip=self.name == "train")
        try:
            return self.run(cfg)
        except Exception as error:
            if explain(error) is None:
                raise
            fail(explain(error))

    def run(self, cfg: DictConfig) -> Any:
        """Imported only now: --help and a misspelt setting are answered at once, and so is a job that has finished."""
        module = import_module(f"gapclose.runs.jobs.{self.name}")
        if not gc.get_freeze_count():  # What was imported stays; looking for garbage in it takes a third of a second.
            gc.freeze()
        return module.run(cfg)


def quiet() -> None:
    """Silences what Lightning and Hydra say at every start, which is nothing that a user could act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*is deprecated",
        ".*smaller than the logging interval",
        "Checkpoint directory .* exists",
        r"\n'hydra/launcher/ray' is validated against ConfigStore schema",  # The plugin's is called the same.
    ):
        warnings.filterwarnings("ignore", message=message)


def launch(name: str) -> None:
    """Composes the configuration `name` from the command line and runs `gapclose.runs.jobs.<name>` on it.

    What a user can put right is printed as one sentence, and the exit code is 1; Ctrl-C exits with 130. Jobs of a
    multirun go on after one that fails; at the end there is a table of what they have found, and one sentence about
    those that failed.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the sentence is ours.
    quiet()
    job = Job(name)
    with multirun.Sweep() as sweep:
        try:
            broken = start(job, sweep)
            if sweep.folder:
                sweep.finish(summary=name == "train", broken=broken)
        except (Interrupted, KeyboardInterrupt) as interruption:
            print(sweep.resume_hint() or str(interruption) or "Interrupted.", file=sys.stderr)
            sys.exit(130)


def start(job: Job, sweep: multirun.Sweep) -> str | None:
    """Composes the configuration and runs the job, or all jobs of the sweep; returns why not all of them, if so."""
    try:
        with composing_once(), reading_once():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=job.name)(job)()
    except Exception as error:
        sentence = explain(error if sweep.folder or job.composed else misspelt(job.name) or error)
        if sentence is None and sweep.folder:
            return sweep.broken(error)
        if sentence is None and job.composed:
            raise
        # What Hydra cannot make a configuration of is the command line's fault, whatever the error's type.
        fail(sentence or one_line(str(error)))


def misspelt(name: str) -> Exception | None:
    """What is wrong with the settings beside the ranges of a ready-made sweep; none if there is no sweep, or nothing.

    Hydra reads in the configuration that it is one. Where it cannot make one, it takes the command for that of a
    single run, and would say of the ranges that these have none.
    """
    given = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
    if not any(key_of(argument) == "sweep" for argument in given):
        return None
    try:
        settings = OverridesParser.create().parse_overrides(given)
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            hydra.compose(name, [setting.input_line for setting in settings if not setting.is_sweep_override()])
    except HydraException as error:
        return error
    return None
