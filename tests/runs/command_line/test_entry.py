"""Invalid commands are refused in one sentence with exit code 1, before any work starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from gapclose.data.trajectories import Trajectories
from tests.runs.conftest import TINY, TINY_PLAN, is_one_sentence

WRONG = [
    ("train", ["finetune=bogus"], "Could not find 'finetune/bogus'"),
    ("train", ["finetun=online"], "finetun"),
    ("train", ["planner.horizn=3"], "horizn"),
    ("train", ["planner=???"], "You must specify 'planner'"),
    ("train", ["planner.horizon=0"], "planner.horizon is 0"),
    ("train", ["planner.horizon=abc"], "planner.horizon is 'abc'"),
    ("train", ["planner.lr=nan"], "planner.lr is nan"),
    ("train", ["init=spiral"], "Could not find 'init/spiral'"),
    ("train", ["planner.optimizer=newton"], "planner.optimizer is 'newton'"),
    ("train", ["planner.num_starts=9"], "planner.num_starts is 9, more than planner.num_samples = 8"),
    ("train", ["planner=cem", "planner.num_elites=301"], "num_elites is 301"),
    ("train", ["planner=icem", "planner.num_elites=301"], "num_elites is 301"),
    ("train", ["planner=grad_cem", "planner.num_elites=65"], "num_elites is 65"),
    ("train", ["planner=mppi", "planner.temperature=0"], "planner.temperature is 0"),
    ("train", ["planner.iterations=null"], "give planner.iterations or planner.seconds"),
    ("train", ["planner.seconds=-1"], "planner.seconds is -1"),
    ("train", ["mpc.horizon=banana"], "mpc.horizon is 'banana'"),
    ("train", ["init=policy", "init.noise=-1"], "init.noise is -1"),
    ("train", ["init=policy", "policy.network.hidden_dim=0"], "policy.network.hidden_dim is 0"),
    ("train", ["init=policy", "policy.training.epochs=0"], "policy.training.epochs is 0"),
    ("train", ["init=policy", "policy.training.module.optimizer.lr=-1"], "learning rate"),
    ("train", ["objective.terms.goal.decay=0"], "decay is 0"),
    ("train", ["objective.terms.disagreement.weight=automatic"], "is 'automatic'"),
    ("train", ["env.action_max=-0.1"], "env.action_max is -0.1"),
    ("train", ["env.door=[0.5,-0.5]"], "door is [0.5, -0.5]"),
    ("train", ["env.wall_x=5"], "wall_x is 5"),
    ("train", ["data.num_trajectories=1"], "data.num_trajectories is 1"),
    ("train", ["data=nothing"], "Could not find 'data/nothing'"),
    ("train", ["data.behaviour.action_noise=-1"], "data.behaviour.action_noise is -1"),
    ("train", ["data=random_walk", "data.behaviour.correlation=1"], "data.behaviour.correlation is 1"),
    ("train", ["data=random_walk", "data.behaviour.action_noise=0.2"], "action_noise"),
    ("train", ["data=mixture", "data.behaviour.shares.expert=0"], "data.behaviour.shares is 0"),
    (
        "train",
        ["data=mixture", "~data.behaviour.shares.expert"],
        "has parts expert, random_walk and shares random_walk",
    ),
    ("train", ["data=mixture", "data.behaviour.parts.random_walk.std=0"], "parts.random_walk.std is 0"),
    (
        "train",
        ["baseline=multi_step", "baseline.window=9"],
        "window of baseline has 9 steps, but data.steps is 8; increase data.steps, or reduce baseline.window",
    ),
    ("train", ["finetune=continue", "finetune.window=9"], "window of finetune has 9 steps, but data.steps is 8"),
    ("train", ["baseline.window=0"], "baseline.window is 0"),
    ("train", ["baseline.module.input_noise=-1"], "Error: baseline.module.input_noise is -1"),
    ("train", ["finetune=adversarial", "finetune.module.input_noise=much"], "finetune.module.input_noise is 'much'"),
    ("train", ["model=oracle"], "model=oracle has nothing to train"),
    ("train", ["model=mlp", "objective=uncertainty_aware"], "single member; choose objective=goal, or model=ensemble"),
    ("train", ["model.members=1"], "single member"),
    ("train", ["model.hidden_dim=0"], "model.hidden_dim is 0"),
    ("train", ["model=transformer", "model.hidden_dim=6"], "model.hidden_dim is 6 and model.num_heads is 4"),
    (
        "train",
        ["model=transformer", "model.context=9"],
        "training window of baseline has 9 steps, but data.steps is 8;",
    ),
    (
        "train",
        ["model=transformer", "finetune=online", "model.context=7"],
        "A training window of finetune has 7 steps, but planner.horizon is 6; increase planner.horizon, or reduce "
        "finetune.window or model.context",
    ),
    ("train", ["model=transformer", "compile=true"], "cannot be compiled; leave out compile=true"),
    ("train", ["baseline.epochs=0"], "baseline.epochs is 0"),
    ("train", ["baseline.batch_size=-1"], "baseline.batch_size is -1"),
    ("train", ["finetune=online", "finetune.replay_ratio=1.5"], "finetune.replay_ratio is 1.5"),
    ("train", ["finetune=online", "finetune.rollouts.plans_per_epoch=0"], "finetune.rollouts.plans_per_epoch is 0"),
    ("train", ["finetune=online", "finetune.replay.capacity=3"], "capacity"),
    ("train", ["finetune=adversarial", "radii.latent=-1"], "radii.latent is -1"),
    ("train", ["finetune=adversarial", "radii=adaptive", "radii.momentum=2"], "radii.momentum is 2"),
    ("train", ["finetune=adversarial", "radii=learned", "radii.target=0"], "radii.target is 0"),
    ("train", ["finetune=adversarial", "radii=learned", "radii.smallest=0.6"], "smallest radius is 0.6"),
    ("train", ["finetune=adversarial", "radii=learned", "radii.start.action=0"], "initial action radius is 0"),
    ("train", ["finetune=adversarial", "finetune.epsilon=-1"], "finetune.epsilon is -1"),
    ("train", ["finetune=adversarial", "radii=learned", "finetune.epsilon=20"], "initial latent radius is 1"),
    ("train", ["optimized_metric=finetuned/open_loop/world_model_error"], "not be measured; give baseline/open_loop"),
    ("train", ["optimized_metric=baseline/open_loop/worldmodel_error"], "baseline/open_loop/world_model_error"),
    ("train", ["hydra.mode=MULTIRUN", "num_threads=1,2"], "would use the same folder"),
    ("train", ["sweep=grid", "plannr.horizon=5", "seed=0,1"], "Could not override 'plannr.horizon'"),
    ("train", ["sweep=gird", "seed=0,1"], "Could not find 'sweep/gird'"),
    ("train", ["seed=0,1"], "add --multirun"),
    (
        "train",
        ["hydra.mode=MULTIRUN", "trainer=ddp", "seed=0,1", "hydra/launcher=parallel"],
        "trainer=ddp does not work with this launcher; remove trainer=ddp",
    ),
    ("train", ["finetune=adversarial", "radii=wild"], "Could not find 'radii/wild'"),
    ("train", ["finetune=adversarial", "attack.steps=-1"], "attack.steps is -1"),
    ("train", ["finetune=adversarial", "attack.norm=l1"], "attack.norm is 'l1'"),
    ("train", ["finetune=adversarial", "attack.restarts=2"], "restarts is 2"),
    ("train", ["finetune=adversarial", "attack=storm"], "Could not find 'attack/storm'"),
    ("train", ["finetune=adversarial", "finetune.module.measure_every=0"], "measure_every is 0"),
    ("train", ["finetune=adversarial", "finetune.window=0"], "finetune.window is 0"),
    ("train", ["finetune=online", "finetune.rollouts.tasks=hard"], "finetune.rollouts.tasks is 'hard'"),
    (
        "train",
        ["finetune=online", "finetune.rollouts.max_simulator_steps=5"],
        "max_simulator_steps is 5, less than one",
    ),
    ("train", ["finetune=online", "finetune.rollouts.planner=bogus"], "entry 'bogus'"),
    ("train", ["finetune=online", "finetune.rollouts.planner='cem planner.num_elites=999'"], "num_elites is 999"),
    ("train", ["finetune=online", "finetune.rollouts.planner='cem mpc.horizon=fixed'"], "it sets mpc.horizon"),
    (
        "train",
        ["model=mlp", "finetune=online", "finetune.rollouts.planner='cem objective=uncertainty_aware'"],
        "single member",
    ),
    ("train", ["finetune=online", "finetune.replay.priority_exponent=-1"], "priority_exponent is -1"),
    (
        "train",
        ["finetune=online", "finetune.window=7"],
        "training window of finetune has 7 steps, but planner.horizon is 6",
    ),
    ("train", ["finetune=online", "+trainer.max_epochs=3"], "give settings of a stage such as finetune.epochs"),
    ("train", ["+trainer.fast_dev_run=true"], "trainer.fast_dev_run is True, which stages of training do not obey"),
    ("train", ["+trainer.callbacks=[{}]"], "trainer.callbacks is"),
    ("train", ["+trainer.limit_val_batches=0"], "trainer.limit_val_batches is 0"),
    ("train", ["+trainer.precision=64-true"], "trainer.precision is 64-true; give 32-true"),
    ("train", ["hydra.job.chdir=true"], "hydra.job.chdir=true is not supported"),
    ("train", ["published=abc"], "published is 'abc'"),
    ("train", ["published={baseline:{success_rate:high}}"], "published.baseline.success_rate is 'high'"),
    ("train", ["compile=no"], "compile is 'no'"),
    ("train", ["compile=1"], "compile is 1"),
    ("train", ["base_checkpoint=[A]"], "base_checkpoint is ['A']"),
    ("train", ["base_checkpoint=a=b.ckpt"], "base_checkpoint=a=b.ckpt cannot be read"),
    ("train", ["evaluation=null"], "evaluation is null"),
    ("train", ["data_dir="], "data_dir is ''"),
    ("train", ["hydra.run.dir="], "hydra.run.dir is empty"),
    ("train", ["-m", "hydra.sweep.dir=''", "seed=0,1"], "hydra.sweep.dir is empty"),
    ("train", ["data.seed=100000000000000000000"], "data.seed is 100000000000000000000"),
    ("train", ["data.seed=-1"], "data.seed is -1"),
    ("train", ["init=policy", "policy.training=null"], "policy.training is null"),
    ("train", ["init=policy", "policy.seed=-1"], "policy.seed is -1"),
    *(
        ("train", [f"{group}=null"], f"{group}=null chooses no option of {group}")
        for group in ("env", "data", "encoder", "model", "baseline", "planner", "init", "objective", "mpc", "trainer")
    ),
    ("train", ["model._target_=lightning.Trainer"], "model"),
    ("train", ["planner._target_=gapclose.planning.mpc.MPC"], "planner"),
    ("train", ["seed=1.0"], "seed is 1.0"),
    ("train", ["seed=true"], "seed is True"),
    ("train", ["num_threads=99999"], "num_threads is 99999"),
    ("train", ["num_workers=99999"], "num_workers is 99999"),
    ("train", ["evaluation.models=[finetuned,tuned]"], "evaluation.models is [finetuned, tuned]"),
    ("train", ["evaluation.models=[]"], "evaluation.models is []"),
    ("train", ["evaluation.models=finetuned"], "Error: evaluation.models is 'finetuned'"),
    ("train", ["evaluation.models=[finetuned]"], "finetune=none trains no finetuned model"),
    ("train", ["evaluation.each_epoch=maybe"], "Error: evaluation.each_epoch is 'maybe'"),
    ("train", ["objective.terms.goal.at=middle"], "at is 'middle'"),
    ("train", ["evaluation.num_tasks=0"], "Error: evaluation.num_tasks is 0"),
    ("train", ["evaluation.seed=x"], "Error: evaluation.seed is 'x'"),
    ("train", ["seed=-1"], "Error: seed is -1"),
    ("train", ["evaluation.device=abacus"], "no device abacus"),
    ("train", ["seed=x"], "seed is"),
    ("train", ["num_threads=0"], "num_threads is 0"),
    ("train", ["mpc.replan_every=0"], "mpc.replan_every is 0"),
    ("train", ["adaptation=dream"], "Could not find 'adaptation/dream'"),
    ("train", ["adaptation=gradient", "adaptation.steps=-1"], "adaptation.steps is -1"),
    ("train", ["adaptation=gradient", "adaptation.lr=0"], "adaptation.lr is 0"),
    ("train", ["adaptation=gradient", "adaptation.memory=0"], "adaptation.memory is 0"),
    ("train", ["adaptation=gradient", "compile=true"], "compiled model cannot be adapted"),
    ("plan", ["adaptation=gradient", "model=oracle"], "oracle has nothing to adapt"),
    ("plan", ["adaptation=gradient", "model=oracle", "execute=[open_loop]"], "oracle has nothing to adapt"),
    ("train", ["base_checkpoint=nowhere.ckpt"], "no checkpoint nowhere.ckpt"),
    ("train", ["base_checkpoint=."], "is a folder"),
    ("train", ["trainer.devices=0"], "devices"),
    ("train", ["trainer.devices=2", "trainer.accelerator=cpu"], "trainer.devices is 2, which takes 2 processes; add"),
    ("train", ["+trainer.strategy=fsdp"], "trainer.strategy is fsdp, which stages do not obey"),
    ("train", ["trainer=ddp", "trainer.accelerator=cpu", "+trainer.num_nodes=2"], "start it by srun or torchrun"),
    ("train", ["logger=paper"], "Could not find 'logger/paper'"),
    ("train", ["resume=nowhere"], "no run to resume in nowhere"),
    ("train", ["=3"], ""),
    ("train", ["objective.terms.goal.weight=0"], "measures the distance to the goal"),
    ("train", ["baseline.module.optimizer.lr=-1"], "learning rate"),
    ("train", ["finetune=online", "finetune.module.scheduler.T_0=0"], "T_0"),
    ("train", ["finetune=online", "finetune.module.scheduler_interval=day"], "scheduler_interval is 'day'"),
    ("train", ["env.wall_thickness=1e-9"], "too thin"),
    ("plan", ["model=mlp"], "nothing to plan with"),
    ("plan", [], "nothing to plan with"),
    ("plan", ["checkpoint=nowhere.ckpt"], "no checkpoint nowhere.ckpt"),
    ("plan", ["start=[0,1]", "goal=[1,1]"], "start (0, 1) lies inside the wall"),
    ("plan", ["start=[-1,1]", "goal=[9,1]"], "goal (9, 1) lies outside the arena"),
    ("plan", ["start=[-1,nan]", "goal=[1,1]"], "start (-1, nan) is not finite"),
    ("plan", ["start=[-1,1,2]", "goal=[1,1,2]"], "start has shape"),
    ("plan", ["start=[-1,north]", "goal=[1,1]"], "give numbers"),
    ("plan", ["start=[-1,1]"], "start and goal belong together"),
    ("plan", ["start=[[-1,1],[-1,0]]", "goal=[1,1]"], "2 starts and 1 goals"),
    ("plan", ["num_tasks=0"], "Error: num_tasks is 0"),
    ("plan", ["compare=gradient"], "compare is gradient; give a list"),
    ("plan", ["compare=[]"], "compare is []; give a list"),
    ("plan", ["compare=[multistart,bogus]"], "Could not find 'planner/bogus'"),
    ("plan", ['compare=["multistart planner.speed=3"]'], "planner.speed"),
    ("plan", ["compare=[multistart,mppi]"], "planner.num_elites"),
    ("plan", ['compare=["multistart planner.num_elites=9"]'], "planner.num_elites is 9"),
    ("plan", ['compare=["multistart init=spiral"]'], "Could not find 'init/spiral'"),
    ("plan", ["execute=[]"], "execute is []; give a list"),
    ("plan", ["execute=[open_loop,blindly]"], "blindly"),
    ("plan", ["device=abacus"], "no device abacus"),
    ("train", ["evaluation.device=meta"], "no device meta"),
    ("plan", ["objective=uncertainty_aware"], "single member"),
    ("plan", ["env._target_=tests.fixtures.Engine"], "choose a planner that only samples"),
    ("train", ["env._target_=tests.fixtures.Engine"], "choose a planner that only samples"),
    ("plan", ["checkpoint=[A]"], "checkpoint is ['A']"),
    ("plan", ["checkpoint=5"], "checkpoint is 5"),
    ("plan", ["checkpoint="], "checkpoint is ''"),
    ("plan", ["seed=0.0"], "seed is 0.0"),
    ("plan", ["num_tasks=2.0"], "num_tasks is 2.0"),
    ("plan", ["compile=true"], "the oracle has nothing to compile"),
    ("plan", ["trainer=ddp"], "leave out trainer=ddp"),
]


@pytest.mark.parametrize(("name", "arguments", "named"), WRONG, ids=lambda value: str(value)[:50])
def test_an_invalid_command_is_refused_in_one_sentence(call, name, arguments, named):
    replaced = tuple(argument.partition("=")[0] + "." for argument in arguments)
    tiny = [setting for setting in (TINY if name == "train" else TINY_PLAN) if not setting.startswith(replaced)]
    oracle = (
        ["model=oracle"] if name == "plan" and arguments and not arguments[0].startswith(("model", "check")) else []
    )
    answer = call(name, *tiny, *oracle, *arguments, "hydra.run.dir=run")
    assert answer.code == 1
    assert is_one_sentence(answer.err), answer.err
    assert named in answer.err
    assert not Path("data").exists(), "work has started"
    assert not Path("run/config.yaml").exists(), "the run has used the folder"
    assert not Path("nowhere").exists()


def test_the_folder_of_another_run_is_not_written_into(call, trained):
    before = {path: path.stat().st_mtime_ns for path in (trained / "run").glob("*") if path.is_file()}
    answer = call("train", *TINY, f"hydra.run.dir={trained / 'run'}")
    assert answer.code == 1
    assert "holds a run of another configuration" in answer.err
    assert (trained / "run" / "metrics.json").stat().st_mtime_ns == before[trained / "run" / "metrics.json"]
    assert (trained / "run" / "config.yaml").stat().st_mtime_ns == before[trained / "run" / "config.yaml"]


def test_a_folder_is_used_by_one_run_at_a_time(call):
    Path("run").mkdir()
    with FileLock("run/.lock"):
        answer = call("train", *TINY, "hydra.run.dir=run")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert "Another run is using" in answer.err


def test_plan_does_not_write_into_the_folder_of_a_training_run(call, trained):
    before = (trained / "run" / "metrics.json").read_bytes()
    answer = call(
        "plan", *TINY_PLAN, f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", f"hydra.run.dir={trained / 'run'}"
    )
    assert answer.code == 1
    assert "holds a run of another configuration" in answer.err
    assert (trained / "run" / "metrics.json").read_bytes() == before


def test_resume_accepts_no_other_settings(call, trained):
    answer = call("train", f"resume={trained / 'run'}", "seed=4")
    assert answer.code == 1
    assert "leave out seed=4" in answer.err


@pytest.mark.parametrize("name", ["train", "plan"])
def test_a_checkpoint_of_another_shape_is_refused(call, trained, name):
    setting = "base_checkpoint" if name == "train" else "checkpoint"
    tiny = TINY if name == "train" else TINY_PLAN
    answer = call(name, *tiny, f"{setting}={trained / 'run/checkpoints/last.ckpt'}", "model=mlp")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert "of another shape" in answer.err


@pytest.mark.parametrize("damage", [lambda content: content[:1000], lambda content: b"", lambda content: b"x" * 9999])
def test_a_damaged_checkpoint_is_refused(call, trained, damage):
    Path("damaged.ckpt").write_bytes(damage((trained / "run/checkpoints/last.ckpt").read_bytes()))
    answer = call("plan", *TINY_PLAN, "checkpoint=damaged.ckpt")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert "damaged.ckpt is no checkpoint" in answer.err


def test_nan_in_a_data_file_is_refused(call):
    call("train", *TINY, "hydra.run.dir=a")
    path = next(Path("data").glob("*.safetensors"))
    trajectories = Trajectories(*(tensor.clone() for tensor in Trajectories.load(path)))
    trajectories.states[3, 2, 1] = torch.nan
    trajectories.save(path)
    answer = call("train", *TINY, "hydra.run.dir=b", "seed=1")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert path.name in answer.err
    assert "NaN" in answer.err


@pytest.mark.parametrize(
    ("name", "command"), dict(train="train.py", plan="plan.py", diagnose="-m gapclose.diagnose").items()
)
def test_help_shows_examples_and_every_group(call, name, command):
    answer = call(name, "--help")
    assert answer.code == 0
    assert f"python {command}" in answer.out
    assert "planner: cem, grad_cem, gradient, grasp, icem, mppi, multistart, predictive_sampling" in answer.out
    assert "init: colored, knots, normal, policy, zeros" in answer.out
    assert "action_max: 0.25" in answer.out


def test_help_imports_nothing_that_takes_long():
    slow = "{'torch', 'lightning', 'scipy', 'pandas', 'matplotlib', 'wandb'}"
    program = f"import sys, gapclose.runs.command_line.entry; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
