"""An interrupted multirun resumes, and logs the status of each job."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout

from gapclose.errors import UserError
from gapclose.runs.command_line import entry, multirun
from gapclose.runs.jobs import train
from gapclose.sweeps import summary
from tests.runs.conftest import TINY, TINY_FINETUNE, TINY_ONLINE, kill, start_process

ROOT = Path(__file__).parents[3]
SHORT = ["hydra.sweep.dir=sweep", "hydra.sweep.subdir='${seed},${planner.num_starts}'"]
SWEEP = ["-m", *TINY, "model=mlp", "evaluation.models=[baseline]", *SHORT]


def jobs(folder="sweep", name="metrics.json"):
    return sorted(path.parent.name for path in Path(folder).glob(f"*/{name}"))


def said(answer):
    """The logged status of each job, by its number."""
    lines = [
        line.partition("][INFO] - #")[2]
        for line in answer.out.splitlines()
        if "runs.command_line.multirun][INFO] - #" in line
    ]
    return {int(line.split(" ")[0]): line.rpartition(": ")[2] for line in lines}


def summary_of(folder):
    return (Path(folder) / "summary.csv").read_bytes()


def test_a_sweep_over_modes_accepts_settings_that_only_some_of_them_have(call):
    extra = [
        "++finetune.rollouts.plans_per_epoch=4",
        "++finetune.replay_ratio=0.5",
        *(f"++{setting}" for setting in TINY_FINETUNE),
    ]
    modes = "finetune=none,continue,online"
    answer = call("train", "-m", *TINY, "model=mlp", *extra, modes, "hydra.sweep.dir=sweep")
    assert (answer.code, answer.err) == (0, "")


def test_finished_jobs_are_skipped_without_slow_imports_and_new_ones_are_run(call, monkeypatch):
    answer = call("train", *SWEEP, "seed=0,1")
    assert (answer.code, answer.err, said(answer)) == (0, "", {0: "starts", 1: "starts"})
    before = {path: path.stat().st_mtime_ns for path in Path("sweep").glob("*/metrics.json")}
    with monkeypatch.context() as patch:
        patch.setattr(entry, "import_module", None)
        answer = call("train", *SWEEP, "seed=1,0")
    assert (answer.code, said(answer)) == (0, {0: "finished already", 1: "finished already"})
    answer = call("train", *SWEEP, "seed=2,0")
    assert (answer.code, said(answer)) == (0, {0: "starts", 1: "finished already"})
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert "sweep: 3 runs" in answer.out
    assert Path("sweep/summary.csv").exists()
    assert not Path("sweep/.sweep.lock").exists()


def test_folders_are_named_by_the_settings_without_neutral_ones(call):
    command = ["-m", *TINY[1:], "logger=none", "num_threads=1", "hydra.sweep.dir=sweep"]
    few = [setting for setting in command if not setting.startswith(("planner", "baseline", "data", "eval"))]
    answer = call("train", *few, "evaluation.num_tasks=0", "seed=0,1")
    assert answer.code == 1
    assert jobs(name="error.txt") == [f"evaluation.num_tasks-0+model.hidden_dim-16+seed-{seed}" for seed in (0, 1)]
    assert "There is no finished run below sweep" in answer.out


def test_a_failed_job_writes_its_error_and_is_repeated(call, monkeypatch):
    answer = call("train", *SWEEP, "seed=0", "planner.num_starts=2,99,1")
    assert answer.code == 1
    assert answer.err.startswith("Error: 1 job has failed (sweep/0,99/error.txt): planner.num_starts is 99, more than")
    assert answer.err.count("\n") == 1
    assert jobs() == ["0,1", "0,2"]
    assert Path("sweep/0,99/error.txt").read_text().startswith("planner.num_starts is 99")
    assert Path("sweep/0,99/error.txt").read_text().count("\n") == 1
    assert "2 runs, 1 failed" in answer.out
    assert call("train", *SWEEP, "seed=0", "planner.num_starts=2,1").code == 0, "an old error does not count"
    answer = call("train", *SWEEP, "seed=0", "planner.num_starts=2,99,1")
    assert (answer.code, said(answer)[1]) == (1, "failed before, runs again")

    def break_down(*_):
        raise RuntimeError("A defect\nof two lines.")

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_baseline", break_down)
        answer = call("train", *SWEEP, "seed=5,6")
    assert answer.err.startswith("Error: 2 jobs have failed")
    left = Path("sweep/5,2/error.txt").read_text()
    assert left.startswith("RuntimeError: A defect of two lines.\nTraceback")
    assert "break_down" in left
    answer = call("train", *SWEEP, "seed=5,6")
    assert (answer.code, answer.err) == (0, "")
    assert jobs(name="error.txt") == ["0,99"]


@pytest.mark.parametrize(
    ("error", "starter", "goes_on"),
    [
        (RuntimeError("gone"), "srun", False),
        (OSError(28, "no space left", "a"), "srun", False),
        (torch.OutOfMemoryError("CUDA out of memory."), "srun", False),
        (UserError("Refused."), None, True),
        (RuntimeError("gone"), None, True),
    ],
)
def test_a_distributed_job_that_fails_ends_the_sweep_only_if_the_job_has_not_started_its_processes(
    call, monkeypatch, error, starter, goes_on
):
    started = []

    def fail(*_):
        started.append(len(started))
        raise error

    monkeypatch.setattr(train, "train", fail)
    monkeypatch.setattr(multirun, "external_starter", lambda _: starter)
    answer = call("train", *SWEEP, "seed=0,1", "trainer=ddp", "trainer.accelerator=cpu")
    assert answer.code == 1
    assert jobs(name="error.txt") == ["0,2", "1,2"][: len(started)]
    assert len(started) == 1 + goes_on
    sentence = "Error: 2 jobs have failed" if goes_on else "Error: The sweep was aborted, as #0 failed in one of its"
    assert answer.err.startswith(sentence)
    assert answer.err.count("\n") == 1
    assert "hydra.sweep.dir=sweep" in answer.err
    assert not Path("sweep/.sweep.lock").exists()


@pytest.mark.parametrize("error", [OSError("no space left"), ZeroDivisionError("a defect\nof two lines")])
def test_a_failed_summary_is_reported_together_with_failed_jobs(call, monkeypatch, error):
    summaries = []

    def fail(folder):
        summaries.append(folder)
        raise error

    monkeypatch.setattr(summary, "summarize_sweep", fail)
    answer = call("train", *SWEEP, "seed=0", "planner.num_starts=99")
    assert summaries == [Path("sweep")], "the summary is made once"
    assert f"could not be summarised ({type(error).__name__}: {' '.join(str(error).splitlines())})" in answer.err
    assert answer.code == 1
    assert answer.err.startswith("Error: 1 job has failed (sweep/0,99/error.txt): planner.num_starts is 99")
    assert answer.err.count("\n") == 1


def test_a_sweep_whose_table_cannot_be_written_reports_it_and_exits_with_1(call):
    Path("sweep/summary.csv").mkdir(parents=True)
    answer = call("train", *SWEEP, "seed=0")
    assert answer.code == 1
    assert answer.err.startswith("Error: The results of the jobs could not be summarised (sweep/summary.csv cannot")
    assert answer.err.count("\n") == 1


def test_a_reason_that_all_failed_jobs_share_is_printed_and_otherwise_the_files_with_the_reasons(call):
    answer = call("train", *SWEEP, "seed=0,1", "planner.num_starts=99", "hydra.sweep.dir='a sweep'")
    assert answer.err == (
        "Error: 2 jobs have failed (a sweep/0,99/error.txt, a sweep/1,99/error.txt): planner.num_starts is 99, more "
        "than planner.num_samples = 8; choose at most that many; to run the failed jobs again, repeat the command "
        "with 'hydra.sweep.dir=a sweep'.\n"
    )
    answer = call("train", *SWEEP, "seed=0", "planner.num_starts=98,99")
    assert answer.err.startswith(
        "Error: 2 jobs have failed for the reasons in sweep/0,98/error.txt, sweep/0,99/error.txt; to run the failed"
    )


def test_a_refused_sweep_leaves_no_folder(call):
    answer = call("train", *SWEEP, "seed=0,1", "nonsense=1,2")
    assert answer.code == 1
    assert answer.err.startswith("Error: Could not override 'nonsense'")
    assert not Path("sweep").exists()


def test_ctrl_c_ends_all_jobs_and_prints_how_to_resume(call, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    assert call("train", *SWEEP, "seed=0").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_baseline", interrupt)
        answer = call("train", *SWEEP, "seed=0,1,2")
    assert (answer.code, answer.err) == (
        130,
        "Interrupted. Resume with the same command and hydra.sweep.dir=sweep.\n",
    )
    assert not Path("sweep/2,2").exists()
    answer = call("train", *SWEEP, "seed=0,1,2")
    assert said(answer) == {0: "finished already", 1: "was interrupted, resumes", 2: "starts"}


def test_a_folder_is_used_by_one_sweep_at_a_time(call):
    Path("sweep").mkdir()
    with FileLock("sweep/.sweep.lock"):
        answer = call("train", *SWEEP, "seed=0,1")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: Another sweep is using sweep; ")
    assert answer.err.count("\n") == 1
    assert not Path("data").exists()


def test_a_job_does_not_use_the_folder_of_another_configuration(call):
    assert call("train", *SWEEP, "seed=0").code == 0
    before = Path("sweep/0,2/metrics.json").read_bytes()
    answer = call("train", *SWEEP, "seed=0", "planner.iterations=1")
    assert answer.code == 1
    assert "holds a run of another configuration" in Path("sweep/0,2/error.txt").read_text()
    assert Path("sweep/0,2/metrics.json").read_bytes() == before
    answer = call("train", *SWEEP, "seed=0")
    assert (answer.code, said(answer)) == (0, {0: "finished already"})
    assert not Path("sweep/0,2/error.txt").exists()


def test_neutral_settings_may_change_when_a_sweep_is_resumed(call, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate_and_save", interrupt)
        assert call("train", *SWEEP, "seed=1").code == 130
    assert call("train", *SWEEP, "seed=0").code == 0
    answer = call("train", *SWEEP, "num_threads=1", "logger=csv", "data_dir=elsewhere", "seed=0,1")
    assert (answer.code, answer.err) == (0, "")
    assert said(answer) == {0: "finished already", 1: "was interrupted, resumes"}
    assert jobs() == ["0,2", "1,2"]


def test_a_sweep_with_more_planners_evaluates_its_trained_models_with_the_new_ones(call):
    arguments = ["-m", *TINY, "model=mlp", "evaluation.models=[baseline]", "hydra.sweep.dir=sweep"]
    quick = "'gradient planner.iterations=2'"
    assert call("train", *arguments, f"compare=[{quick}]", "seed=0").code == 0
    (first,) = Path("sweep").glob("*/metrics.json")
    before = first.read_bytes()
    grown = f"compare=[{quick},'predictive_sampling planner.iterations=2 planner.num_samples=8']"
    answer = call("train", *arguments, grown, "seed=0,1")
    assert (answer.code, answer.err) == (0, "")
    assert said(answer) == {0: "is evaluated with additional planners", 1: "starts"}
    assert first.read_bytes() == before
    assert len(jobs()) == 2
    runs = pd.read_csv("sweep/summary.csv")
    assert list(runs["seeds"]) == ["0 1", "0 1", "0 1"]
    assert "compare" not in runs
    assert said(call("train", *arguments, grown, "seed=0,1")) == {0: "finished already", 1: "finished already"}
    found = {path: path.read_bytes() for path in Path("sweep").glob("*/compare/*/tasks.csv")}
    assert call("train", *arguments, grown, "seed=0,1", "hydra.sweep.dir=whole").code == 0
    for path, content in found.items():
        assert Path("whole", *path.parts[1:]).read_bytes() == content


def test_an_invalid_list_of_planners_is_refused_in_a_finished_sweep(call):
    assert call("train", *SWEEP, "seed=0").code == 0
    for wrong in ("'cem planner.iterations=2'", "5", "[]", "[gradient,null]"):
        answer = call("train", *SWEEP, "seed=0", f"compare={wrong}")
        assert answer.code == 1, wrong
        assert "give a list of planners, such as compare=[gradient,cem]" in answer.err + answer.out, wrong
        assert "Traceback" not in Path("sweep/0,2/error.txt").read_text(), wrong


def test_files_that_a_kill_leaves_incomplete_are_written_again(call):
    assert call("train", *SWEEP, "seed=0,1").code == 0
    expected = summary_of("sweep")
    for path in Path("sweep").glob("*/.hydra/*.yaml"):
        path.write_text("seed: [")
    Path("sweep/multirun.yaml").write_text("hydra: {")
    Path("sweep/1,2/metrics.json").unlink()
    (Path("sweep") / "1,2" / ".config.yaml.123").write_text("half")
    (Path("sweep") / ".sweep.lock").touch()
    assert call("train", *SWEEP, "seed=0,1").code == 0
    assert summary_of("sweep") == expected


def start(folder, *arguments):
    """Starts a multirun in separate processes."""
    command = [sys.executable, ROOT / "train.py", *SWEEP, f"data_dir={folder.parent / 'data'}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder.parent / "log.txt").open("a") as log:
        return subprocess.Popen(
            [*command, f"hydra.sweep.dir={folder}"],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def kill_after(process, folder, finished, seconds=0.0):
    """Kills all processes of a multirun some seconds after the given number of jobs have finished."""
    while len(jobs(folder)) < finished and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    assert process.poll() is None, (folder.parent / "log.txt").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_and_resumed_multirun_has_the_same_summary_as_an_uninterrupted_one(call, tmp_path):
    arguments = ["seed=0,1,2", *TINY_ONLINE, "evaluation.models=[finetuned]"]
    data = f"data_dir={tmp_path / 'data'}"
    process = start_process(*SWEEP, data, *arguments, f"hydra.sweep.dir={tmp_path / 'killed'}")
    while not jobs("killed") and process.is_alive():
        time.sleep(0.001)
    kill(process)
    assert 1 <= len(jobs("killed")) < 3
    for name in ("killed", "alone"):
        assert call("train", *SWEEP, data, *arguments, f"hydra.sweep.dir={tmp_path / name}").code == 0
    assert summary_of("killed") == summary_of("alone")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "parallel"])
def test_a_multirun_of_twelve_jobs_that_is_killed_three_times_has_the_same_summary(tmp_path, launcher):
    draw = random.Random(launcher)
    arguments = [*TINY_ONLINE, "evaluation.models=[finetuned]", f"hydra/launcher={launcher}"]
    arguments += ["seed=0,1,2", "planner.num_starts=1,2", "finetune.replay_ratio=0.2,0.8"]
    arguments += ["hydra.sweep.subdir='${seed},${planner.num_starts},${finetune.replay_ratio}'"]
    for finished in (0, 3, 7):
        process = start(tmp_path / "killed", *arguments)
        kill_after(process, tmp_path / "killed", finished + draw.randrange(3), draw.uniform(0, 1))
        assert len(jobs(tmp_path / "killed")) < 12
    (tmp_path / "log.txt").unlink()
    assert start(tmp_path / "killed", *arguments).wait(600) == 0
    assert (tmp_path / "log.txt").read_text().count("finished already") >= 7
    assert start(tmp_path / "alone", *arguments, f"data_dir={tmp_path / 'other'}").wait(600) == 0
    assert len(jobs(tmp_path / "killed")) == 12
    assert summary_of(tmp_path / "killed") == summary_of(tmp_path / "alone")


@pytest.mark.slow
def test_jobs_of_the_parallel_launcher_end_with_the_process_that_started_them(tmp_path):
    long = ["seed=0,1", "hydra/launcher=parallel", "baseline.epochs=100000"]
    process = start(tmp_path / "killed", *long)
    locks = [tmp_path / "killed" / f"{seed},2" / ".lock" for seed in (0, 1)]
    while not all(lock.exists() for lock in locks):
        assert process.poll() is None, (tmp_path / "log.txt").read_text()
        time.sleep(0.1)
    with pytest.raises(Timeout):
        FileLock(locks[0]).acquire(blocking=False)
    process.kill()
    for lock in locks:
        FileLock(lock).acquire(timeout=10)
