"""Models that are trained once and shared by runs: the baseline, and the policy of init=policy."""

import json
import signal
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from gapclose.conf_files import conf_dir
from gapclose.runs.setup.parts import Parts
from gapclose.runs.storage import shared_models as shared
from gapclose.training.behaviour_cloning import BehaviourCloning
from tests.runs.conftest import TINY, TINY_PLAN, TINY_POLICY

PLAN = [*TINY_PLAN, *TINY_POLICY, "num_tasks=2", "execute=[open_loop]", "model=oracle"]


def policies(folder="data"):
    return sorted(Path(folder, "policies").glob("*.ckpt"))


def weights_of(path):
    return torch.load(path, weights_only=True)["state_dict"]


def equal(these, those):
    return these.keys() == those.keys() and all(torch.equal(these[name], those[name]) for name in these)


def test_the_policy_is_trained_once_and_does_not_depend_on_the_command_that_trains_it(call):
    assert call("train", *TINY, *TINY_POLICY, "hydra.run.dir=a").code == 0
    (policy,) = policies()
    written = policy.stat().st_mtime_ns
    assert f"Training {policy}" in Path("a/train.log").read_text()
    assert call("plan", *PLAN, "seed=1", "hydra.run.dir=b").code == 0
    log = Path("b/plan.log").read_text()
    assert f"Using {policy}" in log
    assert "Training" not in log
    assert policies() == [policy]
    assert policy.stat().st_mtime_ns == written
    assert call("plan", *PLAN, "seed=2", "data_dir=elsewhere", "hydra.run.dir=c").code == 0
    (other,) = policies("elsewhere")
    assert other.name == policy.name
    assert equal(weights_of(other), weights_of(policy))


@pytest.fixture
def file_of(monkeypatch):
    """The name of a shared model's file for a command's settings, without any training."""
    asked = []
    monkeypatch.setattr(shared, "train_once", lambda path, *rest: asked.append(path.name))

    def name_of(kind, name, *settings):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose(name, overrides=["init=policy", *settings])
        parts = Parts.build(config)
        if kind == "policy":
            parts.train_policy(None, config)
        else:
            shared.train_baseline(None, None, None, parts.simulator, config, None)
        return asked[-1]

    return name_of


def test_the_name_of_the_policys_file_depends_exactly_on_its_settings(file_of):
    same = ["seed=1", "planner.horizon=9", "init.noise=0.1", "mpc.replan_every=2", "objective=goal", "data_dir=x"]
    names = {file_of("policy", "plan", *same), file_of("policy", "train", "model=mlp", "finetune=online")}
    assert names == {file_of("policy", "plan")}
    others = ["policy.seed=1", "policy.network.num_layers=1", "policy.training.batch_size=8", "data.seed=1"]
    others += ["policy.training.window=5", "env.action_max=0.2", "trainer.gradient_clip_val=0.1"]
    assert len(names | {file_of("policy", "plan", setting) for setting in others}) == 1 + len(others)


def test_the_name_of_the_baselines_file_depends_exactly_on_its_settings(file_of):
    same = ["planner=cem", "evaluation.seed=3", "finetune=online", "policy.seed=1", "objective=goal", "data_dir=x"]
    names = {file_of("baseline", "train"), file_of("baseline", "train", *same)}
    assert len(names) == 1
    others = ["seed=1", "model=mlp", "env.action_max=0.1", "data.behaviour.action_noise=0.2", "baseline.batch_size=8"]
    others += ["trainer.gradient_clip_val=0.1", "data=mixture", "baseline=multi_step", "baseline=noise_injection"]
    assert len(names | {file_of("baseline", "train", setting) for setting in others}) == 1 + len(others)


def test_without_iterations_the_plan_is_that_of_the_policy(call):
    found = []
    for folder, policy in (("a", 0), ("b", 1), ("c", 0)):
        settings = [setting for setting in PLAN if not setting.startswith("planner.num")]
        settings += ["planner=gradient", "planner.iterations=0", f"policy.seed={policy}"]
        assert call("plan", *settings, f"hydra.run.dir={folder}").code == 0
        found.append(json.loads(Path(folder, "metrics.json").read_text())["open_loop"]["goal_distance"])
    assert found[0] == found[2] != found[1]


def test_planners_in_a_comparison_share_a_policy_which_other_inits_do_not_need(call):
    settings = [setting for setting in PLAN if not setting.startswith(("init=", "planner.num"))]
    assert call("plan", *settings, "compare=[cem,gradient]", "hydra.run.dir=a").code == 0
    assert policies() == []
    compared = json.dumps(["cem init=policy", "mppi init=policy", "gradient"])
    assert call("plan", *settings, f"compare={compared}", "hydra.run.dir=b").code == 0
    assert len(policies()) == 1
    log = Path("b/plan.log").read_text()
    assert (log.count("Training "), log.count("Using ")) == (1, 1)


@pytest.mark.parametrize("name", ["plan", "train"])
def test_an_interrupted_training_of_the_policy_resumes_to_the_same_result(call, monkeypatch, name):
    arguments = PLAN if name == "plan" else [*TINY, *TINY_POLICY]
    begin_epoch, epochs = BehaviourCloning.on_train_epoch_start, []

    def interrupt(self):
        begin_epoch(self)
        epochs.append(self.current_epoch)
        if epochs == [0, 1]:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(BehaviourCloning, "on_train_epoch_start", interrupt)
    answer = call(name, *arguments, "hydra.run.dir=run")
    signal.signal(signal.SIGINT, before)
    assert answer.code == 130
    assert answer.err.startswith("Interrupted.")
    assert not policies()
    assert not Path("run/metrics.json").exists()
    assert call(name, *arguments, "hydra.run.dir=run").code == 0
    assert epochs == [0, 1, 1, 2]
    assert {path.suffix for path in Path("data/policies").iterdir()} <= {".ckpt", ".lock"}
    call("plan", *PLAN, "data_dir=whole", "hydra.run.dir=whole_run")
    assert equal(weights_of(*policies()), weights_of(*policies("whole")))


def test_a_damaged_policy_is_refused_in_one_sentence(call):
    call("plan", *PLAN, "hydra.run.dir=a")
    (policy,) = policies()
    policy.write_bytes(policy.read_bytes()[:500])
    answer = call("plan", *PLAN, "hydra.run.dir=b")
    assert answer.code == 1
    assert answer.err.startswith("Error: ")
    assert answer.err.count("\n") == 1
    assert policy.name in answer.err
