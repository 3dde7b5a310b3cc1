"""The entry points of the commands train, plan and diagnose. They report errors in one sentence.

What the commands do is in `gapclose.runs.jobs`.
"""

import gc
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gapclose.command_lines import list_override
from gapclose.conf_files import conf_dir
from gapclose.errors import Interrupted, fail
from gapclose.explanation import explain, naming_file, one_line
from gapclose.overrides import key_and_value, key_of
from gapclose.processes import is_first_process, set_rank
from gapclose.runs.command_line import multirun
from gapclose.runs.command_line.composition import composing_once
from gapclose.runs.setup.run_settings import check_settings
from gapclose.runs.storage.run_folder import config_and_folder
from gapclose.streams import make_logs_printable, make_printing_safe


def run_dir(resume: str | None) -> str:
    """Returns the Hydra run directory: that of the run to resume, or a new one named by time and process."""
    if resume is not None and (Path(resume) / "config.yaml").is_file():
        return resume
    return f"outputs/{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}"


def output_subdir(resume: str | None) -> str | None:
    """Returns Hydra's subfolder for the command line; `None` for a resumed run, to keep the original command line."""
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
    """The function that Hydra calls with the configuration of a run. Launchers pickle it for other processes.

    Attributes:
        name: name of the module in `gapclose.runs.jobs` that runs the job.
        started: whether the job was called in this process, so that its configuration could be composed.
    """

    name: str
    started: bool = False

    def __call__(self, cfg: DictConfig) -> Any:
        self.started = True
        silence_warnings()
        make_logs_printable()
        if HydraConfig.get().job.chdir:
            fail(
                "hydra.job.chdir=true is not supported, as the paths in a configuration are relative to the folder "
                "where the command starts; leave it out: all results are in hydra.run.dir."
            )
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return multirun.run_job(self.run, cfg, skip_finished=self.name == "train")
        try:
            return self.run(cfg)
        except Exception as error:
            if explain(error) is None:
                raise
            fail(explain(error))

    def run(self, cfg: DictConfig) -> Any:
        """Runs the job. Imports its module only now, so that --help, wrong settings and finished jobs are fast."""
        config, folder = config_and_folder(cfg)
        if is_first_process(config):
            with naming_file(folder / "config.yaml") if cfg.get("resume") is not None else nullcontext():
                check_settings(config, self.name)
        module = import_module(f"gapclose.runs.jobs.{self.name}")
        freeze_imports()
        set_rank(0)
        return module.run(config, folder)


@cache
def freeze_imports() -> None:
    """Leaves imported modules, which are never freed, out of garbage collection: it takes a third of a second less."""
    gc.freeze()


def silence_warnings() -> None:
    """Silences the warnings of Lightning and Hydra that appear at every start and that a user cannot act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*is deprecated",
        ".*smaller than the logging interval",
        "Checkpoint directory .* exists",
        r"\n'hydra/launcher/ray' is validated against ConfigStore schema",  # The plugin has a schema of this name.
    ):
        warnings.filterwarnings("ignore", message=message)


def launch(name: str) -> None:
    """Composes the configuration `name` from the command line and runs `gapclose.runs.jobs.<name>` on it.

    An error that a user can fix is printed as one sentence, and the exit code is 1. Ctrl-C exits with 130. A failed job
    does not stop the other jobs of a multirun; at the end, a table shows the results, and one sentence the failures.
    """
    make_printing_safe()
    require_named_folders(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Makes Hydra raise its errors, so that they can be explained here.
    silence_warnings()
    job = Job(name)
    with multirun.Sweep() as sweep:
        try:
            aborted = run_hydra(job, sweep)
            if sweep.folder:
                sweep.finish(summary=name == "train", aborted=aborted)
        except (Interrupted, KeyboardInterrupt) as interruption:
            print(sweep.resume_hint() or str(interruption) or "Interrupted.", file=sys.stderr)
            sys.exit(130)


def require_named_folders(arguments: list[str]) -> None:
    """Exits with a sentence if a folder is given as an empty name, which would be the current folder."""
    for argument in arguments:
        key, value = key_and_value(argument)
        if key in ("hydra.run.dir", "hydra.sweep.dir") and value.strip("'\"") == "":
            fail(f"{key} is empty, as if a variable of the shell is not set; give a folder, such as {key}=results.")


def run_hydra(job: Job, sweep: multirun.Sweep) -> str | None:
    """Composes the configuration and runs the job, or all jobs of a sweep.

    Returns:
        Why a sweep was aborted, or `None`.
    """
    try:
        with composing_once():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=job.name)(job)()
    except Exception as error:
        cause = None if sweep.folder or job.started else fixed_settings_error(job.name)
        sentence = explain(cause or error)
        if sentence is None and sweep.folder:
            return sweep.abort_message(error)
        if sentence is None and job.started:
            raise
        # No configuration could be composed: the command line is wrong, whatever the type of the error.
        fail(sentence or one_line(str(error)))


def fixed_settings_error(name: str) -> Exception | None:
    """Returns the error in the settings of a ready-made sweep that have a single value, or `None`.

    `sweep=NAME` turns a command into a sweep through `hydra.mode` in that file, which Hydra reads only after
    composition. If the configuration cannot be composed, Hydra takes the command for a single run, and complains about
    values such as `seed=0,1` instead of the actual error.
    """
    arguments = get_args_parser().parse_args(sys.argv[1:])
    if not any(key_of(argument) == "sweep" for argument in arguments.overrides):
        return None
    try:
        given = OverridesParser.create().parse_overrides(arguments.overrides)
        folders = [folder for one in given if one.key_or_group == "hydra.searchpath" for folder in one.value()]
        if arguments.config_dir:
            folders.append(str(Path(arguments.config_dir).absolute()))
        others = (one for one in given if one.key_or_group != "hydra.searchpath" and not one.is_sweep_override())
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            hydra.compose(name, [list_override("hydra.searchpath", folders), *(one.input_line for one in others)])
    except HydraException as error:
        return error
    return None
