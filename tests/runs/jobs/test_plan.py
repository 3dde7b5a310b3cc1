import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.runs.conftest import TINY, TINY_PLAN, TINY_POLICY


def test_every_kind_of_checkpoint_can_be_planned_with(call, trained, rendered):
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


def test_the_environment_comes_from_the_checkpoint_and_the_command_line_changes_it(call, trained):
    checkpoint = trained / "run" / "checkpoints" / "last.ckpt"
    call("plan", *TINY_PLAN, f"checkpoint={checkpoint}", "env.task=any", "env.door=[-1,1]", "hydra.run.dir=run")
    config = Path("run/config.yaml").read_text()
    assert "task: any" in config
    assert "hidden_dim: 16" in config
    assert "- -1" in config


def test_the_data_come_from_the_checkpoint_unless_the_command_line_chooses_others(call, trained):
    call("train", *TINY, "data=random_walk", "hydra.run.dir=trained")
    (walked,) = Path("data/baselines").glob("*.ckpt")
    settings = [*TINY_PLAN, f"checkpoint={walked}", "num_tasks=2", "execute=[open_loop]"]
    assert call("plan", *settings, "hydra.run.dir=own").code == 0
    assert len(list(Path("data").glob("wall-random_walk-*.safetensors"))) == 1
    assert "data: random_walk" in Path("own/config.yaml").read_text()
    assert call("plan", *settings, "data=noisy_expert", "hydra.run.dir=other").code == 0
    assert len(list(Path("data").glob("wall-expert-*.safetensors"))) == 1
    assert "data: noisy_expert" in Path("other/config.yaml").read_text()


def test_the_policy_comes_from_the_checkpoint_unless_the_command_line_sets_it(call):
    assert call("train", *TINY, *TINY_POLICY, "hydra.run.dir=trained").code == 0
    (checkpoint,), policies = Path("data/baselines").glob("*.ckpt"), Path("data/policies")
    (own,) = policies.glob("*.ckpt")
    settings = [*TINY_PLAN, f"checkpoint={checkpoint}", "init=policy", "num_tasks=2", "execute=[open_loop]"]
    assert call("plan", *settings, "seed=5", "hydra.run.dir=own").code == 0
    assert list(policies.glob("*.ckpt")) == [own]
    assert call("plan", *settings, *TINY_POLICY, "policy.seed=1", "hydra.run.dir=other").code == 0
    assert len(list(policies.glob("*.ckpt"))) == 2


def test_a_checkpoint_with_a_data_class_of_another_version_is_refused_in_one_sentence(call, trained):
    checkpoint = torch.load(trained / "run/checkpoints/last.ckpt", weights_only=True)
    checkpoint["config"]["data"] = dict(
        _target_="gapclose.data.collect.ExpertData",
        folder="data",
        num_trajectories=20,
        steps=8,
        action_noise=0.1,
        seed=0,
    )
    torch.save(checkpoint, "old.ckpt")
    plan = ["num_tasks=2", "execute=[open_loop]", *(setting for setting in TINY_PLAN if "data." not in setting)]
    answer = call("plan", *plan, "checkpoint=old.ckpt", "hydra.run.dir=refused")
    assert answer.code == 1
    assert "old.ckpt names 'gapclose.data.collect.ExpertData' as data._target_, which no option" in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("data").exists()
    settings = ["data=expert", "data.num_trajectories=20", "data.steps=8", "hydra.run.dir=run"]
    assert call("plan", *plan, "checkpoint=old.ckpt", *settings).code == 0


def test_the_oracle_plans_a_task_given_by_start_and_goal(call):
    answer = call("plan", *TINY_PLAN, "model=oracle", "start=[-1,0]", "goal=[-0.8,0]", "hydra.run.dir=run")
    assert answer.code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["open_loop"]["num_tasks"] == 1
    assert metrics["mpc"]["success_rate"] == 1
    assert metrics["expert_error"] == 0


def test_the_oracle_plans_in_the_environment_of_a_checkpoint(call, trained):
    checkpoint = trained / "run" / "checkpoints" / "last.ckpt"
    settings = [f"checkpoint={checkpoint}", "model=oracle", "num_tasks=2", "hydra.run.dir=run"]
    answer = call("plan", *TINY_PLAN, *settings)
    assert answer.code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["open_loop"]["world_model_error"] == 0
    assert (metrics["model"], metrics["checkpoint"]) == ("oracle", str(checkpoint))
    assert "│ oracle" in answer.out
    assert "│ last" not in answer.out, "the results are not those of the checkpoint"


def test_another_planner_can_be_chosen(call):
    settings = ["planner=mppi", "planner.horizon=6", "planner.num_samples=20", "num_tasks=3"]
    settings += ["model=oracle", "planner.iterations=2", "data.num_trajectories=20", "hydra.run.dir=run"]
    assert call("plan", *settings).code == 0
    assert json.loads(Path("run/metrics.json").read_text())["open_loop"]["planner"] == "mppi"


@pytest.mark.parametrize("way", ["open_loop", "mpc"])
def test_only_the_ways_that_are_asked_for_are_executed(call, way):
    answer = call("plan", *TINY_PLAN, "model=oracle", "num_tasks=2", f"execute=[{way}]", "hydra.run.dir=run")
    assert answer.code == 0
    assert {"open_loop", "mpc"} & set(json.loads(Path("run/metrics.json").read_text())) == {way}
    assert {path.name for path in Path("run").glob("*.gif")} == {f"{way}.gif"}


def test_planners_are_compared_with_their_own_defaults_and_settings(call, trained):
    planners = ["gradient", "cem planner.num_samples=40", "multistart init=colored init.exponent=1 mpc.replan_every=2"]
    settings = [f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", "num_tasks=3", "hydra.run.dir=run"]
    settings += ["planner.horizon=6", "planner.iterations=2", f"data_dir={trained / 'data'}"]
    answer = call("plan", *settings, f"compare={json.dumps(planners)}")
    assert answer.code == 0
    compared = json.loads(Path("run/metrics.json").read_text())["planners"]
    assert list(compared) == planners
    calls = [compared[planner]["open_loop"]["model_calls"] // (3 * 6) for planner in planners]
    # One start twice; the mean and two rounds of 40; 160 samples, three rounds around the best, four starts twice.
    assert calls == [2 * 2 + 1, 1 + 2 * 40, 4 * 160 + 2 * 2 * 4 + 4]
    assert {path.name for path in Path("run").iterdir() if path.suffix in (".png", ".gif")} == {
        "plans.png",
        "success_by_seconds.png",
    }
    assert all(planner.split()[0] in answer.out for planner in planners)


@pytest.mark.filterwarnings("error:.*constrained_layout:UserWarning")
def test_planners_are_compared_on_a_task_given_by_start_and_goal(call, rendered):
    settings = ["model=oracle", "planner.iterations=1", "planner.horizon=6", "data.num_trajectories=20"]
    settings += ["start=[-1,0]", "goal=[-0.8,0]", "compare=[mppi,grasp]", "hydra.run.dir=run"]
    assert call("plan", *settings).code == 0
    compared = json.loads(Path("run/metrics.json").read_text())["planners"]
    assert [compared[planner]["mpc"]["num_tasks"] for planner in ("mppi", "grasp")] == [1, 1]


def test_a_comparison_in_mpc_alone_has_no_budgets(call):
    settings = ["model=oracle", "planner.iterations=1", "planner.horizon=6", "data.num_trajectories=20", "num_tasks=2"]
    assert call("plan", *settings, "compare=[mppi,gradient]", "execute=[mpc]", "hydra.run.dir=run").code == 0
    compared = json.loads(Path("run/metrics.json").read_text())["planners"]
    assert [list(ways) for ways in compared.values()] == [["mpc"], ["mpc"]]


def test_the_checkpoint_determines_its_data_and_its_automatic_disagreement_weight(call, trained):
    settings = [f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", "planner.horizon=6", "planner.iterations=1"]
    settings += ["num_tasks=2", f"data_dir={trained / 'data'}", "objective=calibrated", "execute=[open_loop]"]
    before = sorted(path.name for path in (trained / "data").iterdir())
    assert call("plan", *settings, "hydra.run.dir=run").code == 0
    assert "steps: 8" in Path("run/config.yaml").read_text()
    assert sorted(path.name for path in (trained / "data").iterdir()) == before
    assert json.loads(Path("run/metrics.json").read_text())["disagreement_weight"] not in (0.0, 1.0, 30.0)


def test_a_checkpoint_plans_with_the_objective_that_it_was_trained_for(call):
    assert call("train", *TINY, "model=mlp", "hydra.run.dir=trained").code == 0
    (checkpoint,) = Path("data/baselines").glob("*.ckpt")
    settings = [*TINY_PLAN, f"checkpoint={checkpoint}", "num_tasks=2", "execute=[open_loop]"]
    assert call("plan", *settings, "hydra.run.dir=run").code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["disagreement_weight"] == 0
    assert "Disagreement" not in Path("run/config.yaml").read_text()
    refused = call("plan", *settings, "objective=uncertainty_aware", "hydra.run.dir=refused")
    assert refused.code == 1
    assert "single member" in refused.err


def test_the_command_line_changes_the_objective_of_a_checkpoint(call, trained):
    settings = [*TINY_PLAN, f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", f"data_dir={trained / 'data'}"]
    weights = {}
    for name, choice in dict(own=[], goal=["objective=goal"], oracle=["model=oracle"]).items():
        folder = f"hydra.run.dir={name}"
        assert call("plan", *settings, "num_tasks=2", "execute=[open_loop]", *choice, folder).code == 0
        weights[name] = json.loads(Path(f"{name}/metrics.json").read_text())["disagreement_weight"]
    assert weights == dict(own=30.0, goal=0.0, oracle=0.0)


def test_the_policy_alone_is_reported_if_plans_start_from_it(call):
    settings = [*TINY_PLAN, *TINY_POLICY, "model=oracle", "num_tasks=2", "execute=[open_loop]"]
    answer = call("plan", *settings, "hydra.run.dir=run")
    assert answer.code == 0
    assert "policy alone" in answer.out
    assert json.loads(Path("run/metrics.json").read_text())["open_loop_policy_alone"]["num_tasks"] == 2


def test_mpc_with_adaptation_is_compared_with_mpc_without_it(call, trained):
    settings = [f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", f"data_dir={trained / 'data'}", "num_tasks=2"]
    adapted = [*TINY_PLAN, *settings, "adaptation=gradient", "adaptation.steps=1"]
    settings += ["planner.horizon=6", "planner.iterations=1", "execute=[mpc]"]
    assert call("plan", *adapted, "execute=[mpc]", "hydra.run.dir=run").code == 0
    assert {"mpc", "mpc_adapted"} <= set(json.loads(Path("run/metrics.json").read_text()))
    assert {path.name for path in Path("run").glob("*.gif")} == {"mpc.gif", "mpc_adapted.gif"}
    refused = call("plan", *adapted, "execute=[open_loop]", "hydra.run.dir=refused")
    assert refused.code == 1
    assert "add mpc to execute" in refused.err
    entries = ["gradient", "gradient adaptation=gradient adaptation.lr=0.1"]
    assert call("plan", *settings, f"compare={json.dumps(entries)}", "hydra.run.dir=compared").code == 0
    compared = json.loads(Path("compared/metrics.json").read_text())["planners"]
    assert [list(ways) for ways in compared.values()] == [["mpc"], ["mpc", "mpc_adapted"]]
