"""Runs of train.py in every mode, interrupted or not, and their files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from gapclose.sweeps.__main__ import main as sweeps
from gapclose.training.adversarial import AdversarialTraining
from gapclose.training.planner_rollouts import PlannerRollouts
from tests.runs.conftest import (
    TINY,
    TINY_FINETUNE,
    TINY_ONLINE,
    TINY_PLAN,
    finetuned_weights,
    kill,
    metrics_of,
    start_process,
    without_times,
)

EVAL = {
    "planner",
    "num_tasks",
    "success_rate",
    "success_rate_ci95",
    "goal_distance",
    "imagined_goal_distance",
    "exploitation",
    "model_calls",
    "world_model_error",
    "world_model_error_median",
    "world_model_error_q90",
    "left_world_rate",
    "train_test_gap",
    "planning_seconds",
    "adaptation_seconds",
}


@pytest.mark.parametrize("mode", ["none", "continue", "online", "adversarial", "online_adversarial"])
def test_every_finetune_mode_runs_and_writes_the_documented_metrics(call, mode):
    settings = TINY_ONLINE[1:] if "online" in mode else TINY_FINETUNE
    answer = call("train", *TINY, f"finetune={mode}", *(settings if mode != "none" else []), "hydra.run.dir=run")
    assert answer.code == 0
    metrics = metrics_of("run")
    assert metrics["env"] == "wall"
    assert metrics["data"] == "expert"
    assert metrics["model"] == "ensemble"
    assert metrics["finetune"] == mode
    assert metrics["seed"] == 0
    assert metrics["wall_clock_seconds"] > 0
    models = {"baseline", "oracle"} | ({"finetuned"} if mode != "none" else set())
    assert models == {name for name in metrics if name in ("baseline", "finetuned", "oracle")}
    for model in models:
        without = {"open_loop_without_disagreement"} if model != "oracle" else set()
        assert set(metrics[model]) == {"expert_error", "disagreement_weight", "open_loop", "mpc"} | without
        assert set(metrics[model]["open_loop"]) == EVAL
        assert metrics[model]["mpc"]["num_tasks"] == 4
    assert metrics.get("gradient_steps") == (None if mode == "none" else 3 * 10)
    assert metrics.get("simulator_steps") == (3 * 4 * 6 if "online" in mode else None)
    if "online" in mode:
        assert [entry["simulator_steps"] for entry in metrics["rollouts"]] == 3 * [4 * 6]
    assert metrics["oracle"]["open_loop"]["world_model_error"] == 0
    assert set(metrics.get("paired", ())) == (
        {"open_loop", "open_loop_without_disagreement", "mpc"} if mode != "none" else set()
    )
    if mode != "none":
        success = metrics["paired"]["open_loop"]["success"]
        before, after = (metrics[model]["open_loop"]["success_rate"] for model in ("baseline", "finetuned"))
        assert success["difference"] == pytest.approx(after - before)
        assert success["gained"] - success["lost"] == pytest.approx(4 * (after - before))
        assert f"; {success['gained']} tasks gained, {success['lost']} lost (McNemar p = " in answer.out
    assert "finetuned" in answer.out or mode == "none"
    pictures = {"plans.png", "error_along_horizon.png"} | ({"finetuning_epochs.png"} if "online" in mode else set())
    assert {path.name for path in Path("run").glob("*.png")} == pictures
    if mode != "none":
        assert metrics["finetuned"]["expert_error"] != metrics["baseline"]["expert_error"]
        assert {path.name for path in Path("run/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


TRANSFORMER = ["model=transformer", "model.num_heads=2", "model.context=3"]


@pytest.mark.parametrize("mode", ["none", "online", "adversarial"])
def test_a_model_with_context_trains_in_every_mode_and_adapts(call, mode):
    settings = {"none": ["adaptation=gradient", "adaptation.steps=2"], "online": TINY_ONLINE[1:]}
    settings = settings.get(mode, [*TINY_FINETUNE, "finetune.window=2"])
    evaluated = "baseline" if mode == "none" else "finetuned"
    settings += [f"finetune={mode}", f"evaluation.models=[{evaluated}]", "hydra.run.dir=run"]
    answer = call("train", *TINY, *TRANSFORMER, *settings)
    assert answer.code == 0, answer.err
    metrics = metrics_of("run")
    assert metrics["model"] == "transformer"
    assert set(metrics[evaluated]["mpc"]) == EVAL
    if mode == "none":
        assert set(metrics["baseline"]["mpc_adapted"]) >= EVAL
    else:
        checkpoint = "run/checkpoints/last.ckpt"
        assert call("plan", *TINY_PLAN, "num_tasks=2", f"checkpoint={checkpoint}", "hydra.run.dir=plan").code == 0


def test_mpc_is_shown_with_and_without_adaptation(call):
    answer = call("train", *TINY, "adaptation=gradient", "adaptation.steps=2", "hydra.run.dir=run")
    assert answer.code == 0
    assert "MPC, adapted" in answer.out
    metrics = metrics_of("run")
    assert set(metrics["baseline"]["mpc_adapted"]) == EVAL
    assert metrics["baseline"]["mpc_adapted"]["adaptation_seconds"] > metrics["baseline"]["mpc"]["adaptation_seconds"]
    assert "mpc" in metrics["oracle"]
    assert "mpc_adapted" not in metrics["oracle"]


def test_metrics_are_equal_for_equal_seeds_and_differ_for_different_seeds(call, trained):
    for seed in (0, 5):
        call("train", *TINY, *TINY_ONLINE, f"seed={seed}", f"data_dir=data{seed}", f"hydra.run.dir=run{seed}")
    assert without_times(metrics_of("run0")) == without_times(metrics_of(trained / "run"))
    assert without_times(metrics_of("run0"))["finetuned"] != without_times(metrics_of("run5"))["finetuned"]


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_interrupted_in_any_epoch_resumes_to_the_same_result(call, monkeypatch, trained, epoch):
    start_epoch = PlannerRollouts.on_train_epoch_start

    def interrupt(self, trainer, module):
        start_epoch(self, trainer, module)
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(PlannerRollouts, "on_train_epoch_start", interrupt)
        answer = call("train", *TINY, *TINY_ONLINE, f"data_dir={trained / 'data'}", "hydra.run.dir=run")
    signal.signal(signal.SIGINT, before)
    assert answer.code == 130
    assert "resume=" in answer.err
    assert "Traceback" not in answer.err
    assert not Path("run/metrics.json").exists()
    command = Path("run/.hydra/overrides.yaml").read_bytes()
    assert call("train", "resume=run").code == 0
    assert without_times(metrics_of("run")) == without_times(metrics_of(trained / "run"))
    assert Path("run/.hydra/overrides.yaml").read_bytes() == command


def test_the_last_checkpoint_is_that_of_the_last_epoch_even_if_no_epoch_was_better_than_the_first(call):
    worse = [*TINY_FINETUNE, "finetune=continue", "finetune.epochs=3", "finetune.module.optimizer.lr=1"]
    assert call("train", *TINY, *worse, "hydra.run.dir=run").code == 0
    epochs = {}
    for name in ("best", "last"):
        checkpoint = torch.load(Path("run/checkpoints", f"{name}.ckpt"), weights_only=True)
        epochs[name] = checkpoint["epoch"]
    assert epochs["best"] < 2
    assert epochs["last"] == 2


LEARNED = [*TINY, *TINY_FINETUNE, "finetune=adversarial", "attack=pgd", "radii=learned_adaptive"]
LEARNED += ["radii.start.momentum=0.9", "finetune.module.measure_every=3", "finetune.window=2"]


def radii_of(folder):
    weights = torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: weight for name, weight in weights.items() if "radii" in name}


def test_learned_radii_of_an_interrupted_run_resume_from_their_last_values(call, monkeypatch):
    assert call("train", *LEARNED, "hydra.run.dir=whole").code == 0
    start_epoch = AdversarialTraining.on_train_epoch_start

    def interrupt(self):
        start_epoch(self)
        if self.current_epoch == 2:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(AdversarialTraining, "on_train_epoch_start", interrupt)
        assert call("train", *LEARNED, "hydra.run.dir=run").code == 130
    signal.signal(signal.SIGINT, before)
    halfway = radii_of("run")
    assert call("train", "resume=run").code == 0
    assert without_times(metrics_of("run")) == without_times(metrics_of("whole"))
    for name, radius in radii_of("whole").items():
        assert torch.equal(radii_of("run")[name], radius)
        assert not torch.equal(halfway[name], radius)
    # Radii are not part of the model, so planning does not need them.
    assert call("plan", *TINY_PLAN, "num_tasks=2", "checkpoint=run/checkpoints/last.ckpt").code == 0


def test_the_baseline_does_not_depend_on_attack_and_radii(call):
    for attack, radii in (("fgsm", "fixed"), ("pgd", "learned")):
        call("train", *TINY, f"attack={attack}", f"radii={radii}", f"hydra.run.dir={attack}")
    assert len(list(Path("data/baselines").glob("*.ckpt"))) == 1


VARIANTS = {
    "failures, budget": ["finetune.rollouts.tasks=failures", "finetune.rollouts.max_simulator_steps=59"],
    "dataset, replacement, priorities": [
        *("finetune.rollouts.tasks=dataset", "finetune.rollouts.aggregate=false"),
        *("finetune.replay.priority_exponent=1", "finetune.window=2"),
    ],
    "explorer, evaluation each epoch": [
        "finetune.rollouts.planner='mppi init=policy planner.iterations=1 objective=goal'",
        *("policy.network.hidden_dim=16", "policy.training.epochs=1", "policy.training.steps_per_epoch=5"),
        "evaluation.each_epoch=true",
    ],
    "transformer": ["model=transformer", "model.context=2", "model.hidden_dim=8"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_differs_and_resumes_to_the_same_result(call, trained, monkeypatch, variant):
    """The run is interrupted twice, and resumed once with resume=DIR and once with the original command."""
    settings = [*TINY, *TINY_ONLINE, *VARIANTS[variant], "evaluation.models=[finetuned]"]
    settings.append(f"data_dir={trained / 'data'}")
    assert call("train", *settings, "hydra.run.dir=whole").code == 0
    begin_epoch, epochs = PlannerRollouts.on_train_epoch_start, []

    def interrupt(self, trainer, module):
        begin_epoch(self, trainer, module)
        epochs.append(trainer.current_epoch)
        if epochs in ([0, 1], [0, 1, 1, 2]):
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(PlannerRollouts, "on_train_epoch_start", interrupt)
    for arguments in ([*settings, "hydra.run.dir=run"], ["resume=run"]):
        assert call("train", *arguments).code == 130
        signal.signal(signal.SIGINT, before)
    assert call("train", *settings, "hydra.run.dir=run").code == 0
    assert epochs == [0, 1, 1, 2, 2]
    assert without_times(metrics_of("run")) == without_times(metrics_of("whole"))
    weights, expected = finetuned_weights("run"), finetuned_weights("whole")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    plain = finetuned_weights(trained / "run")
    assert not all(name in plain and torch.equal(plain[name], expected[name]) for name in expected)
    steps = [entry["simulator_steps"] for entry in metrics_of("whole")["rollouts"]]
    assert steps == ([24, 24, 6] if "budget" in variant else [24, 24, 24])


def test_a_killed_run_resumes_to_the_same_result_with_the_command_that_started_it(call, trained):
    arguments = [*TINY, *TINY_ONLINE, f"data_dir={Path.cwd() / 'data'}", f"hydra.run.dir={Path.cwd() / 'run'}"]
    process = start_process(*arguments)
    # Killed as soon as the first epoch of finetuning has written its checkpoint.
    while not Path("run/checkpoints/last.ckpt").exists() and process.is_alive():
        time.sleep(0.001)
    kill(process)
    assert not Path("run/metrics.json").exists()
    assert call("train", *arguments).code == 0
    assert without_times(metrics_of("run")) == without_times(metrics_of(trained / "run"))


def test_the_baseline_is_trained_once_for_all_runs_with_its_settings(call):
    call("train", *TINY, "hydra.run.dir=a")
    baseline = next(Path("data/baselines").glob("*.ckpt"))
    written = baseline.stat().st_mtime_ns
    call("train", *TINY, *TINY_ONLINE, "hydra.run.dir=b", "planner.iterations=1", "evaluation.seed=3")
    assert baseline.stat().st_mtime_ns == written
    assert len(list(Path("data/baselines").glob("*.ckpt"))) == 1


def test_base_checkpoint_replaces_the_baseline(call, trained):
    checkpoint = trained / "run" / "checkpoints" / "last.ckpt"
    call("train", *TINY, f"base_checkpoint={checkpoint}", f"data_dir={trained / 'data'}", "hydra.run.dir=run")
    expected = metrics_of(trained / "run")["finetuned"]
    assert without_times(metrics_of("run")["baseline"]) == without_times(expected)


def test_checkpoints_load_with_weights_only_and_hold_the_configuration(trained):
    for path in [*(trained / "run" / "checkpoints").iterdir(), *(trained / "data" / "baselines").glob("*.ckpt")]:
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["config"]["env"]["_target_"] == "gapclose.envs.wall.Wall"


def test_no_temporary_files_are_left(trained):
    assert not [path for path in trained.rglob(".*") if path.is_file()]


def test_each_planner_of_a_sweep_has_its_own_defaults(call):
    settings = [setting for setting in TINY if not setting.startswith("planner.num_")]
    numbered = ["hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}"]
    assert call("train", "-m", *settings, "planner=gradient,grasp", *numbered).code == 0
    for job, (planner, starts) in enumerate((("gradient", 1), ("grasp", 4))):
        assert metrics_of(f"sweep/{job}")["oracle"]["mpc"]["planner"] == planner
        assert f"num_starts: {starts}" in Path(f"sweep/{job}/config.yaml").read_text()
    assert len(list(Path("data/baselines").glob("*.ckpt"))) == 1


def test_data_and_losses_of_every_kind_work_in_every_mode(call):
    data = ["data=mixture", "data.behaviour.shares.expert=3"]
    losses = ["baseline=multi_step", "baseline.window=2", "finetune.window=3", "finetune.module.input_noise=0.1"]
    for mode in ("online_adversarial", "continue"):
        settings = TINY_ONLINE[1:] if "online" in mode else TINY_FINETUNE
        answer = call("train", *TINY, *data, f"finetune={mode}", *losses, *settings, f"hydra.run.dir={mode}")
        assert answer.code == 0, answer.err
        assert metrics_of(mode)["data"] == "mixture"
    assert len(list(Path("data").glob("wall-mixture-*.safetensors"))) == 1
    assert len(list(Path("data/baselines").glob("*.ckpt"))) == 1
    assert "Wrote 20 mixture trajectories" in Path("online_adversarial/train.log").read_text()


@pytest.mark.parametrize("strategy", [[], pytest.param(["trainer=ddp", "trainer.devices=1"], marks=pytest.mark.slow)])
def test_variables_that_schedulers_set_do_not_change_what_a_run_does(call, monkeypatch, trained, strategy):
    for name in (
        "RANK",
        "LOCAL_RANK",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "JSM_NAMESPACE_RANK",
        "NODE_RANK",
        "GROUP_RANK",
    ):
        monkeypatch.setenv(name, "1")
    for name, value in {"WORLD_SIZE": "4", "MASTER_ADDR": "nowhere", "MASTER_PORT": "none"}.items():
        monkeypatch.setenv(name, value)
    if not strategy:
        monkeypatch.setenv("SLURM_NTASKS", "4")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    answer = call("train", *TINY, *TINY_ONLINE, *strategy, "hydra.run.dir=run")
    assert answer.code == 0
    if not strategy:
        assert answer.err == ""
    assert without_times(metrics_of("run")) == without_times(metrics_of(trained / "run"))


@pytest.mark.slow
def test_two_processes_train_and_roll_out_together(trained, tmp_path):
    root = Path(__file__).parents[3]
    arguments = [*TINY, *TINY_ONLINE, "trainer=ddp", "trainer.accelerator=cpu", f"data_dir={tmp_path / 'data'}"]
    arguments += ["finetune.rollouts.tasks=failures", "finetune.replay.priority_exponent=1"]
    arguments += ["finetune.rollouts.max_simulator_steps=65", "evaluation.each_epoch=true"]
    command = [sys.executable, root / "train.py", *arguments, f"hydra.run.dir={tmp_path / 'run'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=root, check=True, timeout=300, env=environment)
    assert metrics_of(tmp_path / "run")["finetuned"]["open_loop"]["num_tasks"] == 4
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    # Of the ten whole plans that the budget allows, two are left for the last epoch: one for each process.
    assert [entry["simulator_steps"] for entry in metrics_of(tmp_path / "run")["rollouts"]] == [24, 24, 12]
    assert last["WindowDataModule"]["added"] == 2 * 4 + 2
    assert [entry["epoch"] for entry in metrics_of(tmp_path / "run")["each_epoch"]] == [1, 2, 3]


@pytest.mark.slow
def test_runs_that_start_at_the_same_time_train_one_baseline(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, root / "train.py", *TINY, f"data_dir={tmp_path / 'data'}"]
    runs = [subprocess.Popen([*command, f"hydra.run.dir={tmp_path / name}"], cwd=root) for name in "abc"]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0]
    results = [without_times(metrics_of(tmp_path / name)) for name in "abc"]
    assert results[0] == results[1] == results[2]
    logs = "".join((tmp_path / name / "train.log").read_text() for name in "abc")
    assert logs.count("Wrote 20 expert trajectories") == 1
    assert logs.count("Training ") == 1
    assert logs.count("Using ") == 2


def test_a_sweep_that_is_run_again_repeats_only_unfinished_jobs_and_prints_one_table(call, monkeypatch, capsys):
    params = {"finetune": "'continue,online'", "model": "mlp", "data": "expert", "seed": "'0,1'"}
    settings = [f"hydra.sweeper.params.{name}={values}" for name, values in params.items()]
    few = ["++finetune.epochs=1", "++finetune.steps_per_epoch=5", "hydra.sweep.subdir=${hydra.job.num}"]
    command = ["sweep=wall", *TINY, *settings, *few, "hydra.sweep.dir=sweep"]
    assert call("train", *command).code == 0
    made = {path: path.stat().st_mtime_ns for path in Path("sweep").glob("*/metrics.json")}
    assert len(made) == 4
    Path("sweep/2/metrics.json").unlink()
    assert call("train", *command).code == 0
    anew = {path for path in made if path.stat().st_mtime_ns != made[path]}
    assert anew == {Path("sweep/2/metrics.json")}
    monkeypatch.setattr(sys, "argv", ["sweep", "sweep"])
    sweeps()
    table = capsys.readouterr().out
    assert "sweep: 4 runs" in table
    rows = [[cell.strip() for cell in line.split("│")] for line in table.splitlines()]
    assert sorted(row[2:4] for row in rows if len(row) > 5) == [["continue", "2"], ["online", "2"]]
