"""Launchers that run jobs in other processes: joblib, submitit, Ray, and Optuna with joblib."""

from pathlib import Path

import pytest

from tests.runs.conftest import TINY

ROOT = Path(__file__).parents[3]
SWEEP = [*TINY, "model=mlp", "evaluation.models=[baseline]", "hydra.sweep.subdir='${planner.num_starts}'"]


@pytest.fixture
def sweep(call, tmp_path, monkeypatch):
    """Starts a sweep in the test's folder; its processes import the same package as this one."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    places = [f"data_dir={tmp_path / 'data'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    return lambda *arguments: call("train", "-m", *SWEEP, *places, *arguments)


def logs(tmp_path):
    return "".join(path.read_text() for path in (tmp_path / "sweep").glob("*/train.log"))


def check(tmp_path, answer, finished=2, failing="99", error="planner.num_starts is 99"):
    """Checks a sweep with jobs that finish and one that fails."""
    assert answer.code == 1, answer.err
    assert (tmp_path / "sweep" / failing / "error.txt").read_text().startswith(error)
    assert "1 job has failed" in answer.err
    assert f"{finished} run{'s' * (finished > 1)}, 1 failed" in answer.out
    assert "Traceback" not in answer.out + answer.err


def test_parallel_jobs_train_the_baseline_once_and_finished_ones_are_skipped(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = ["planner.num_starts=1,2,99", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2"]
    check(tmp_path, sweep(*command))
    assert logs(tmp_path).count("Training ") == 1
    assert logs(tmp_path).count("Using ") == 1
    check(tmp_path, sweep(*command))
    assert logs(tmp_path).count("finished already") == 2
    assert logs(tmp_path).count("failed before") == 1


@pytest.mark.slow
def test_trials_of_optuna_run_in_parallel(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = ["sweep=search", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"]
    command += ["hydra.sweeper.n_trials=2", "finetune.epochs=1", "finetune.steps_per_epoch=5"]
    command += ["evaluation.models=[finetuned]", "hydra.sweep.subdir='${finetune.replay_ratio}'"]
    answer = sweep(*command, "finetune.rollouts.plans_per_epoch=2")
    assert (answer.code, answer.err) == (0, "")
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2
    assert (tmp_path / "sweep" / "optimization_results.yaml").exists()


def test_submitit_runs_jobs_on_this_machine(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    # The wrong setting is found before PyTorch is imported, which takes seconds in each process.
    answer = sweep("seed=0,-1", "hydra.sweep.subdir='${seed}'", "hydra/launcher=slurm_here")
    check(tmp_path, answer, 1, "-1", "seed is -1")


@pytest.mark.slow
def test_ray_runs_jobs_in_its_own_cluster(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    check(tmp_path, sweep("planner.num_starts=1,2,99", "hydra/launcher=ray"))
