import json
from pathlib import Path

from PIL import Image

from tests.runs.conftest import TINY_PLAN


def test_any_checkpoint_is_planned_with_and_shown(call, trained):
    checkpoints = [*(trained / "run" / "checkpoints").iterdir(), *(trained / "data" / "baselines").glob("*.ckpt")]
    assert len(checkpoints) == 3
    for number, checkpoint in enumerate(checkpoints):
        folder = Path(f"run{number}")
        answer = call("plan", *TINY_PLAN, f"checkpoint={checkpoint}", "num_tasks=5", f"hydra.run.dir={folder}")
        assert answer.code == 0
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {"env", "checkpoint", "seed", "expert_error", "open_loop", "mpc"} <= set(metrics)
        assert metrics["checkpoint"] == str(checkpoint)
        assert metrics["open_loop"]["num_tasks"] == 5
        with Image.open(folder / "open_loop.gif") as gif:
            assert gif.n_frames == 6 + 1
        assert (folder / "plans.png").stat().st_size > 1000


def test_a_checkpoint_brings_its_world_and_the_command_line_changes_it(call, trained):
    checkpoint = trained / "run" / "checkpoints" / "last.ckpt"
    call("plan", *TINY_PLAN, f"checkpoint={checkpoint}", "task=any", "env.door=[-1,1]", "hydra.run.dir=run")
    config = Path("run/config.yaml").read_text()
    assert "task: any" in config
    assert "hidden_dim: 16" in config
    assert "- -1" in config


def test_a_task_of_ones_own_with_the_oracle(call):
    answer = call("plan", *TINY_PLAN, "model=oracle", "start=[-1,0]", "goal=[-0.8,0]", "hydra.run.dir=run")
    assert answer.code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["open_loop"]["num_tasks"] == 1
    assert metrics["mpc"]["success_rate"] == 1
    assert metrics["expert_error"] == 0


def test_the_oracle_plans_in_the_world_of_a_checkpoint(call, trained):
    checkpoint = trained / "run" / "checkpoints" / "last.ckpt"
    settings = [f"checkpoint={checkpoint}", "model=oracle", "num_tasks=2", "hydra.run.dir=run"]
    assert call("plan", *TINY_PLAN, *settings).code == 0
    assert json.loads(Path("run/metrics.json").read_text())["open_loop"]["world_model_error"] == 0


def test_cem_plans_too(call):
    settings = ["planner=cem", "planner.horizon=6", "planner.num_samples=20", "planner.num_elites=4", "num_tasks=3"]
    settings += ["model=oracle", "planner.iterations=2", "data.num_trajectories=20", "hydra.run.dir=run"]
    assert call("plan", *settings).code == 0
    assert json.loads(Path("run/metrics.json").read_text())["open_loop"]["planner"] == "cem"
