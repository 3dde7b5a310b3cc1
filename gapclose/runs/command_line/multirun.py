"""Multiruns: a folder for each job, resumption of interrupted sweeps, and a report of failed jobs at the end."""

import logging
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from gapclose.command_lines import shell_override, shell_path
from gapclose.cores import cores
from gapclose.errors import UserError, describe_file_error, fail
from gapclose.explanation import explain, one_line
from gapclose.files import write_text
from gapclose.locks import PathLock
from gapclose.overrides import NEUTRAL_SETTINGS
from gapclose.printable import printable
from gapclose.processes import end_with_parent, external_starter, is_distributed, is_first_process
from gapclose.runs.command_line.optuna_search import check_search, continue_study
from gapclose.runs.setup.optimized_metric import optimized_value
from gapclose.runs.storage.run_folder import COMPARISON_SETTINGS, is_finished, job_folder

log = logging.getLogger(__name__)

ERROR = "error.txt"
"""File with the error of a failed job, in its folder; the next attempt deletes it."""
DEEPEST_JOB = 4
"""How deep in the folder of a sweep its jobs may be, as `hydra.sweep.subdir` may name folders in folders."""


def parallel_jobs(num_threads: int | None) -> int:
    """Returns the number of jobs that the cores suffice for; `num_threads=null` counts as one thread per job."""
    return max(1, cores() // (num_threads or 1))


def neutral_settings(job: str) -> list[str]:
    """Returns the settings and groups that do not affect the results of jobs of `train`, `plan` or `diagnose`."""
    return [*NEUTRAL_SETTINGS, *(COMPARISON_SETTINGS if job == "train" else ())]


OmegaConf.register_new_resolver("neutral_settings", neutral_settings, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("parallel_jobs", parallel_jobs, replace=True)


class Sweep:
    """The multirun of a command, if it is one. Its folder is locked until the end of the context.

    Attributes:
        folder: folder of the sweep; `None` before it begins, or if the command is not a multirun.
    """

    current: ClassVar[Self | None] = None

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.lock: PathLock | None = None
        self.earlier_errors: dict[Path, int] = {}

    def __enter__(self) -> Self:
        Sweep.current = self
        return self

    def __exit__(self, *_: Any) -> None:
        Sweep.current = None
        if self.lock:
            Path(self.lock.lock_file).unlink(missing_ok=True)
            if [path.name for path in self.folder.glob("*")] == ["multirun.yaml"]:  # Hydra has refused all jobs.
                (self.folder / "multirun.yaml").unlink()
                with suppress(OSError):
                    self.folder.rmdir()
            self.lock.release()

    def begin(self, config: DictConfig) -> None:
        """Checks the sweep and locks its folder, before any job starts.

        Raises:
            UserError: another sweep uses the folder, jobs would share a folder, or the launcher or the search is
                impossible.
        """
        if not is_first_process(config):
            return
        check_folder_names(config)
        check_launcher(config)
        searching = "optuna" in config.hydra.sweeper._target_
        if searching:
            check_search(config.hydra.sweeper, config.get("optimized_metric"))
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        lock = PathLock(folder / ".sweep.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise UserError(
                f"Another sweep is using {folder}; wait until it has finished, or choose another folder with "
                "hydra.sweep.dir=DIR."
            ) from error
        self.folder, self.lock, self.earlier_errors = folder, lock, self.error_files(folder)
        if searching:
            continue_study(config.hydra.sweeper)

    def folder_setting(self) -> str:
        """Returns the override that makes a command resume this sweep, as one word of a shell."""
        return shell_override("hydra.sweep.dir", self.folder)

    @staticmethod
    def error_files(folder: Path) -> dict[Path, int]:
        """Returns the error files in the folders of jobs in a folder, and their modification times."""
        found = (path for level in range(DEEPEST_JOB + 1) for path in folder.glob("*/" * level + ERROR))
        return {path: path.stat().st_mtime_ns for path in sorted(found)}

    def resume_hint(self) -> str | None:
        """Returns how to resume the sweep after Ctrl-C; `None` if the command is not a multirun."""
        return self.folder and f"Interrupted. Resume with the same command and {self.folder_setting()}."

    def abort_message(self, error: Exception) -> str:
        """Returns the message for an error outside the jobs, such as that of a process that was killed."""
        return (
            f"The sweep was aborted ({type(error).__name__}: {one_line(str(error))[:200]}); resume with the same "
            f"command and {self.folder_setting()}."
        )

    def finish(self, summary: bool, aborted: str | None = None) -> None:
        """Summarises the results, and reports failures.

        Exits with code 1 if a job or the summary has failed, or if the sweep was aborted.

        Args:
            summary: whether to make the table and the report.
            aborted: why the sweep was aborted; `None` if all jobs were run.
        """
        summary_error = summarize(self.folder) if summary else None
        failed = [
            path for path, written in self.error_files(self.folder).items() if self.earlier_errors.get(path) != written
        ]
        run_again = f"to run the failed jobs again, repeat the command with {self.folder_setting()}."
        sentences = [aborted, f"{describe_failures(failed)}; {run_again}" if failed else None, summary_error]
        if any(sentences):
            fail(" ".join(filter(None, sentences)))


def describe_failures(errors: list[Path]) -> str:
    """Returns how many jobs have failed, with the reason if they share it, and with the error files."""
    jobs = "1 job has" if len(errors) == 1 else f"{len(errors)} jobs have"
    where = ", ".join(map(str, errors[:3])) + (f" and {len(errors) - 3} more" if len(errors) > 3 else "")
    reason, *others = {path.read_text(encoding="utf-8").partition("\n")[0] for path in errors}
    return f"{jobs} failed for the reasons in {where}" if others else f"{jobs} failed ({where}): {reason.rstrip('.')}"


def summarize(folder: Path) -> str | None:
    """Writes the table and the report of a sweep. Returns a message if that fails, and otherwise `None`."""
    from gapclose.report.sweep import write_sweep_report  # Takes seconds.
    from gapclose.sweeps.summary import summarize_sweep

    try:
        results = summarize_sweep(folder)
        print(f"Open {write_sweep_report(folder, results)} in a browser.")
    except UserError as error:
        print(printable(str(error)))
    except Exception as error:
        is_file_error = isinstance(error, OSError) and error.filename
        reason = describe_file_error(error) if is_file_error else f"{type(error).__name__}: {one_line(str(error))}"
        return (
            f"The results of the jobs could not be summarised ({reason}); try python -m gapclose.sweeps "
            f"{shell_path(folder)}."
        )
    return None


class BeginSweep(Callback):
    """Begins the current sweep. Errors end the program, as Hydra would turn them into warnings."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            if Sweep.current:
                Sweep.current.begin(config)
        except Exception as error:
            fail(explain(error) or f"{type(error).__name__}: {one_line(str(error))}")


def check_folder_names(config: DictConfig) -> None:
    """Raises `UserError` if jobs differ only in settings that the names of their folders leave out."""
    settings = config.hydra
    if "override_dirname" not in OmegaConf.to_container(settings.sweep, resolve=False)["subdir"]:
        return
    given = [f"{name}={values}" for name, values in (settings.sweeper.get("params") or {}).items()]
    for override in OverridesParser.create().parse_overrides([*given, *settings.overrides.task]):
        key = override.key_or_group
        if override.is_sweep_override() and key in settings.job.config.override_dirname.exclude_keys:
            raise UserError(
                f"Jobs that differ only in {key} would use the same folder, because folder names do not contain {key}; "
                f"give one value of {key}, or number the folders: 'hydra.sweep.subdir=${{hydra.job.num}}'."
            )


def check_launcher(config: DictConfig) -> None:
    """Raises `UserError` for trainer=ddp with a launcher whose processes cannot start more processes for a job."""
    launcher = config.hydra.launcher._target_.rpartition(".")[2]
    if is_distributed(config) and launcher not in ("BasicLauncher", "SlurmLauncher"):
        raise UserError(
            "trainer=ddp does not work with this launcher; remove trainer=ddp, or use hydra/launcher=basic or "
            "hydra/launcher=slurm."
        )


def run_job(run: Callable[[DictConfig], Any], cfg: DictConfig, skip_finished: bool) -> Any:
    """Runs one job of a multirun, unless it has finished already.

    If srun or torchrun has started the processes of a distributed job and it fails, the sweep ends, as they do.

    Args:
        run: runs the job.
        cfg: configuration of the job.
        skip_finished: whether to skip a job whose metrics.json exists (only train; plan and diagnose always run again).

    Returns:
        The result of `run`; `None` if it fails. The sweep reports the failure at its end.
    """
    settings = HydraConfig.get()
    if Sweep.current is None and settings.launcher._target_.endswith("JoblibLauncher"):
        end_with_parent(os.getppid())
    folder = Path(settings.runtime.output_dir)
    if not is_first_process(cfg):
        run(cfg)
        return None
    title = f"#{settings.job.num} {settings.job.override_dirname.replace(',', ' ')}"
    try:
        if skip_finished and is_finished(folder, cfg):
            log.info("%s: finished already", title)
            (folder / ERROR).unlink(missing_ok=True)
            dismiss_others(cfg)
            return optimized_value(folder, cfg.optimized_metric)
        log.info("%s: %s", title, job_status(folder, skip_finished))
        (folder / ERROR).unlink(missing_ok=True)
        return run(cfg)
    except Exception as error:
        log.error("#%d: failed: %s", settings.job.num, save_error(folder, error))
        if external_starter(cfg):
            # The other processes have ended. After an exception, Hydra would start the next job with them.
            fail(
                f"The sweep was aborted, as #{settings.job.num} failed in one of its processes "
                f"({type(error).__name__}: {one_line(str(error))[:200]}); resume with the same command and "
                f"{shell_override('hydra.sweep.dir', settings.sweep.dir)}."
            )
        return None


def dismiss_others(cfg: DictConfig) -> None:
    """Tells the processes of a distributed job that srun or torchrun has started that there is nothing to train."""
    if external_starter(cfg):
        from gapclose.runs.jobs.distributed import leading  # Takes seconds.

        with leading(cfg):
            pass


def job_status(folder: Path, skip_finished: bool) -> str:
    """Returns what the job will do, given the files of earlier attempts in its folder; see `run_job`."""
    if (folder / ERROR).exists():
        return "failed before, runs again"
    if (folder / "config.yaml").exists() and not (folder / "metrics.json").exists():
        return "was interrupted, resumes"
    if skip_finished and (folder / "metrics.json").exists():
        return "is evaluated with additional planners"
    return "starts"


def save_error(folder: Path, error: Exception) -> str:
    """Writes the error into the job's folder, with a traceback if it is a defect, and returns its message."""
    sentence = explain(error)
    text = one_line(sentence or f"{type(error).__name__}: {error}")
    write_text(folder / ERROR, text + "\n" + ("" if sentence else "".join(traceback.format_exception(error))))
    return text
