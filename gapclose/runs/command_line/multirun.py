"""Multiruns that go on where they were interrupted, with a folder for each job and a lock on that of the sweep."""

import logging
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from gapclose.cores import cores
from gapclose.errors import UserError, fail, unusable
from gapclose.explanation import explain, one_line
from gapclose.files import replacing
from gapclose.overrides import NO_DIFFERENCE
from gapclose.runs.command_line.search import check_search, continue_study
from gapclose.runs.setup.optimized_metric import optimized_value
from gapclose.runs.storage.run_folder import COMPARISON_SETTINGS, finished, first_process, job_folder

log = logging.getLogger(__name__)

ERROR = "error.txt"
"""Where a job that has failed says why; the next attempt at it takes it away."""


def parallel_jobs(num_threads: int | None) -> int:
    """How many jobs with so many threads each have cores of their own; with `num_threads=null` each has one."""
    return max(1, cores() // (num_threads or 1))


def no_difference(job: str) -> list[str]:
    """Settings and groups that jobs of train.py, plan.py or diagnose may differ in without being others."""
    return [*NO_DIFFERENCE, *(COMPARISON_SETTINGS if job == "train" else ())]


OmegaConf.register_new_resolver("no_difference", no_difference, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("parallel_jobs", parallel_jobs, replace=True)


class Sweep:
    """The multirun that a command turns out to be, if it does. Within it, its folder belongs to no other.

    Attributes:
        folder: of the sweep; none before it begins, or if the command is no multirun.
    """

    current: ClassVar[Self | None] = None

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.lock: FileLock | None = None
        self.earlier: dict[Path, int] = {}

    def __enter__(self) -> Self:
        Sweep.current = self
        return self

    def __exit__(self, *_: Any) -> None:
        Sweep.current = None
        if self.lock:
            Path(self.lock.lock_file).unlink(missing_ok=True)
            if [path.name for path in self.folder.glob("*")] == ["multirun.yaml"]:  # Hydra's, of jobs that it refused.
                (self.folder / "multirun.yaml").unlink()
                with suppress(OSError):
                    self.folder.rmdir()
            self.lock.release()

    def begin(self, config: DictConfig) -> None:
        """Takes the folder, before any job starts.

        Raises:
            UserError: another sweep is at work in it, or jobs would share folders or processes.
        """
        if not first_process():  # It takes part in the jobs of the first, in the same order.
            return
        check_names(config)
        check_processes(config)
        searching = "optuna" in config.hydra.sweeper._target_
        if searching:
            check_search(config.hydra.sweeper, config.get("optimized_metric"))
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".sweep.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise UserError(
                f"A sweep is at work in {folder}; wait for it, or choose another folder by hydra.sweep.dir=DIR."
            ) from error
        self.folder, self.lock, self.earlier = folder, lock, self.errors(folder)
        # The processes that trainer=ddp starts have this command line, and must come to the same folder.
        sys.argv.append(self.setting())
        if searching:
            continue_study(config.hydra.sweeper)

    def setting(self) -> str:
        """What makes a command go on with this sweep."""
        return f"hydra.sweep.dir={self.folder}"

    @staticmethod
    def errors(folder: Path) -> dict[Path, int]:
        """The error messages below a folder, and when they were written."""
        return {path: path.stat().st_mtime_ns for path in sorted(folder.glob(f"**/{ERROR}"))}

    def resume_hint(self) -> str | None:
        """After Ctrl-C; none if this is no multirun."""
        return self.folder and f"Interrupted. Go on with the same command and {shlex.quote(self.setting())}."

    def broken(self, error: Exception) -> str:
        """What to say of an error that is not one of the jobs, such as that of a process that was killed."""
        return (
            f"The sweep broke off ({type(error).__name__}: {one_line(str(error))[:200]}); go on with the same command "
            f"and {shlex.quote(self.setting())}."
        )

    def finish(self, summary: bool, broken: str | None = None) -> None:
        """Says what the jobs have found, and which of them failed; exits with code 1 if any did, or the table.

        Args:
            summary: whether to make a table of their results.
            broken: why not all of them have been run.
        """
        unsummarized = summarize(self.folder) if summary else None
        failed = [path for path, time in self.errors(self.folder).items() if self.earlier.get(path) != time]
        try_again = f"the same command with {shlex.quote(self.setting())} tries again."
        sentences = [broken, f"{failures(failed)}; {try_again}" if failed else None, unsummarized]
        if any(sentences):
            fail(" ".join(filter(None, sentences)))


def failures(errors: list[Path]) -> str:
    """How many jobs have left these error messages, and why: the reason that all have, or where the reasons are."""
    many = "1 job has" if len(errors) == 1 else f"{len(errors)} jobs have"
    where = ", ".join(map(str, errors[:3])) + (f" and {len(errors) - 3} more" if len(errors) > 3 else "")
    reason, *others = {path.read_text().partition("\n")[0] for path in errors}
    return f"{many} failed for the reasons in {where}" if others else f"{many} failed ({where}): {reason.rstrip('.')}"


def summarize(folder: Path) -> str | None:
    """Leaves table and report of a sweep; returns why not, if it fails. The jobs have been run all the same."""
    from gapclose.report.sweep import write_sweep_report  # Takes seconds.
    from gapclose.sweeps.summary import summarize_sweep

    try:
        results = summarize_sweep(folder)
        print(f"Open {write_sweep_report(folder, results)} in a browser.")
    except UserError as error:
        print(error)
    except Exception as error:
        in_place = isinstance(error, OSError) and error.filename
        reason = unusable(error) if in_place else f"{type(error).__name__}: {one_line(str(error))}"
        return (
            f"The results of the jobs could not be put together ({reason}); try python -m gapclose.sweeps "
            f"{shlex.quote(str(folder))}."
        )
    return None


class BeginSweep(Callback):
    """Tells the current sweep its configuration. Hydra would make warnings of errors, and so they end the program."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            if Sweep.current:
                Sweep.current.begin(config)
        except Exception as error:
            fail(explain(error) or f"{type(error).__name__}: {one_line(str(error))}")


def check_names(config: DictConfig) -> None:
    """Refuses to sweep over what the names of the jobs' folders leave out, as they would be the same."""
    settings = config.hydra
    if "override_dirname" not in OmegaConf.to_container(settings.sweep, resolve=False)["subdir"]:
        return
    given = [f"{name}={values}" for name, values in (settings.sweeper.get("params") or {}).items()]
    for override in OverridesParser.create().parse_overrides([*given, *settings.overrides.task]):
        key = override.key_or_group
        if override.is_sweep_override() and key in settings.job.config.override_dirname.exclude_keys:
            raise UserError(
                f"Jobs that differ in {key} alone would share a folder, as its name leaves {key} out; give one value "
                "of it, or name folders otherwise: 'hydra.sweep.subdir=${hydra.job.num}'."
            )


def check_processes(config: DictConfig) -> None:
    """Refuses trainer=ddp with launchers whose processes cannot start further ones for the same job."""
    launcher = config.hydra.launcher._target_.rpartition(".")[2]
    if distributed(config) and launcher not in ("BasicLauncher", "SlurmLauncher"):
        raise UserError(
            "trainer=ddp shares out one job over processes, and this launcher several jobs; leave out one of "
            "trainer=ddp and hydra/launcher."
        )


def distributed(config: DictConfig) -> bool:
    """Whether a job is shared out over processes, by trainer=ddp."""
    return config.trainer.get("strategy") is not None


def end_with_parent() -> None:
    """Ends this process within a second of the launcher that started it; after a SIGKILL it would go on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if not any(thread.name == end_with_parent.__name__ for thread in threading.enumerate()):
        threading.Thread(target=watch, name=end_with_parent.__name__, daemon=True).start()


def run_job(run: Callable[[DictConfig], Any], cfg: DictConfig, skip: bool) -> Any:
    """One job of a multirun: what `run` returns, or none if it fails, which is for the sweep to say at its end.

    A job that is shared out over processes ends the sweep, unless its configuration was refused, as in all of them.

    Args:
        run: the job.
        cfg: its configuration.
        skip: whether a job with metrics.json has finished.
    """
    settings = HydraConfig.get()
    if Sweep.current is None and settings.launcher._target_.endswith("JoblibLauncher"):
        end_with_parent()
    folder = Path(settings.runtime.output_dir)
    title = f"#{settings.job.num} {settings.job.override_dirname.replace(',', ' ')}"
    try:
        if skip and finished(folder, cfg):
            log.info("%s: finished already", title)
            (folder / ERROR).unlink(missing_ok=True)
            return optimized_value(folder, cfg.optimized_metric)
        if first_process():
            log.info("%s: %s", title, state(folder, skip))
            (folder / ERROR).unlink(missing_ok=True)
        return run(cfg)
    except Exception as error:
        if first_process():
            log.error("#%d: failed: %s", settings.job.num, save_error(folder, error))
        if distributed(cfg) and (explain(error) is None or isinstance(error, (OSError, MemoryError, RuntimeError))):
            # Other processes may be at this job still, and would mistake what this one does in the next for their own.
            # Hydra would go on after an Exception.
            fail(
                f"The sweep broke off, as #{settings.job.num} failed in one of its processes ({type(error).__name__}: "
                f"{one_line(str(error))[:200]}); go on with the same command and "
                f"{shlex.quote(f'hydra.sweep.dir={settings.sweep.dir}')}."
            )
        return None


def state(folder: Path, skip: bool) -> str:
    """What a job's folder says of earlier attempts; `skip` as in `attempt`."""
    if (folder / ERROR).exists():
        return "failed before, is tried again"
    if (folder / "config.yaml").exists() and not (folder / "metrics.json").exists():
        return "was interrupted, goes on"
    if skip and (folder / "metrics.json").exists():
        return "is evaluated with further planners"
    return "starts"


def save_error(folder: Path, error: Exception) -> str:
    """Leaves the error in the job's folder, with a traceback if it is a defect of the program; returns its sentence."""
    sentence = explain(error)
    text = one_line(sentence or f"{type(error).__name__}: {error}")
    with replacing(folder / ERROR) as temporary:
        temporary.write_text(text + "\n" + ("" if sentence else "".join(traceback.format_exception(error))))
    return text
