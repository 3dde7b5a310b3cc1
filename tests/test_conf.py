"""Every option of every config group composes and can be instantiated."""

import os
import re

import pytest
import wandb
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gapclose.conf_files import conf_dir
from gapclose.runs.jobs.diagnose import build_diagnostics
from gapclose.runs.setup.parts import Parts
from gapclose.runs.setup.world_models import build_world_model

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in conf_dir().glob("*/*.yaml") if path.parent.name != "hydra"
)

ATTACKS = ["fgsm", "pgd"]
OBJECTIVES = [option.partition("=")[2] for option in OPTIONS if option.startswith("objective=")]


def configuration(name, *overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def required(option):
    """Other options that an option requires."""
    return ["env=pusht"] if option == "model=body_frame" else []


def test_there_are_options():
    some = {
        "env=wall",
        "data=mixture",
        "baseline=multi_step",
        "finetune=online",
        "planner=cem",
        "init=policy",
        "objective=calibrated",
        "experiment=weekend",
    }
    assert some <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_instantiates(option, tmp_path):
    group, _, choice = option.partition("=")
    config = configuration("train", option, f"data_dir={tmp_path}", *required(option))
    OmegaConf.resolve(config)
    parts = Parts.build(config)
    assert parts.mpc.planner.horizon >= 1
    if choice != "oracle":
        build_world_model(config, parts.simulator)
    for stage in ("baseline", "finetune"):
        instantiate(config[stage])
    if group == "policy" or config.init._target_.endswith("PolicyRollouts"):
        parts = Parts.build(configuration("train", option, "init=policy", f"data_dir={tmp_path}"))
        assert parts.policy_training.epochs == config.policy.training.epochs
        assert parts.mpc.planner.init.policy is not None
    else:
        assert parts.policy_training is None
    if group == "logger":
        instantiate(config.logger, save_dir=str(tmp_path))
        wandb.finish()
    if group == "trainer":
        instantiate(config.trainer, logger=False, default_root_dir=str(tmp_path))


@pytest.mark.parametrize("experiment", [option for option in OPTIONS if option.startswith("experiment=")])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_experiment_can_be_combined_with_any_objective(experiment, objective):
    chosen = instantiate(configuration("train", experiment, f"objective={objective}").objective)
    usual = instantiate(configuration("train", f"objective={objective}").objective)
    assert {name: vars(term).get("weight") for name, term in chosen.terms.items()} == {
        name: vars(term).get("weight") for name, term in usual.terms.items()
    }


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith(("planner=", "init=", "object"))])
def test_plan_has_the_same_options(option):
    assert Parts.build(configuration("plan", option)).mpc.planner.horizon == 30


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith(("baseline=", "finetune="))])
def test_every_training_stage_has_settings_for_window_and_input_noise(option):
    group, _, choice = option.partition("=")
    stage = configuration("train", option)[group]
    if choice == "none":
        assert stage is None
    else:
        assert stage.window == (4 if choice == "multi_step" else 1)
        assert (stage.module.input_noise > 0) == (choice == "noise_injection")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("data=")])
def test_data_options_differ_only_in_their_behaviour(option):
    data, expert = configuration("plan", option).data, configuration("train").data
    assert set(data) == set(expert)
    assert all(data[name] == expert[name] for name in data if name != "behaviour")
    assert option == "data=expert" or data.behaviour != expert.behaviour


@pytest.mark.parametrize("sweep", [option for option in OPTIONS if option.startswith("sweep=")])
def test_every_job_of_a_sweep_composes(sweep):
    if sweep == "sweep=search":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = compose("train", overrides=[sweep], return_hydra_config=True).hydra
    job = []
    for override in OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in hydra.sweeper.params.items()]):
        values = override.sweep_string_iterator() if override.is_discrete_sweep() else [override.value()]
        job.append(f"{override.key_or_group}={0.5 if override.is_interval_sweep() else next(iter(values))}")
    config = configuration("train", sweep, *job)
    assert not config.finetune or "finetune=none" in job or "finetuned" in config.evaluation.models
    assert sweep != "sweep=search" or config.evaluation.seed != configuration("train").evaluation.seed


def test_every_sweep_has_its_own_folder():
    folders = [re.search(r"dir: (multirun/\S+)", path.read_text())[1] for path in (conf_dir() / "sweep").iterdir()]
    assert len(folders) >= 10
    assert not [
        folder for folder in folders for other in folders if folder is not other and f"{other}/" in f"{folder}/"
    ]


LAUNCHERS = {"parallel": "joblib", "slurm": "submitit", "slurm_here": "submitit", "ray": "ray"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes(launcher, monkeypatch):
    pytest.importorskip(f"hydra_plugins.hydra_{LAUNCHERS[launcher]}_launcher")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(7), raising=False)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = [f"hydra/launcher={launcher}", "num_threads=2", "hydra.sweep.dir=sweep"]
        chosen = compose("train", overrides=settings, return_hydra_config=True).hydra.launcher
    assert LAUNCHERS[launcher] in chosen._target_
    assert launcher != "parallel" or chosen.n_jobs == 3, "seven cores are enough for three jobs of two threads"


def options_of(group):
    return [option for option in OPTIONS if option.startswith(f"{group}=")]


@pytest.mark.parametrize("radii", options_of("radii"))
@pytest.mark.parametrize("attack", options_of("attack"))
@pytest.mark.parametrize("mode", ["adversarial", "online_adversarial"])
def test_every_attack_can_be_combined_with_all_radii(mode, attack, radii):
    config = configuration("train", f"finetune={mode}", attack, radii, "attack.norm=l2")
    OmegaConf.resolve(config)
    made = instantiate(config.finetune).module.keywords["attack"]
    assert made.norm == "l2"
    assert made.steps == config.attack.steps == (1 if attack == "attack=fgsm" else 10)
    assert type(made.radii).__name__ == config.radii._target_.rpartition(".")[2]


def test_attacks_and_radii_have_the_defaults_of_the_paper():
    attack = instantiate(configuration("train", "finetune=adversarial").finetune).module.keywords["attack"]
    assert (attack.steps, attack.step_ratio, attack.norm, attack.keep_best) == (1, 1.25, "linf", False)
    assert attack.radii.current().tolist() == pytest.approx([0.05, 0.02])


@pytest.mark.parametrize("radii", options_of("radii"))
@pytest.mark.parametrize("mode", ["adversarial", "online_adversarial"])
def test_epsilon_scales_all_radii_of_the_attack(mode, radii):
    settings = (f"finetune={mode}", radii)
    plain, scaled = (
        instantiate(configuration("train", *settings, f"finetune.epsilon={epsilon}").finetune)
        .module.keywords["attack"]
        .radii.current()
        .tolist()
        for epsilon in (1, 3)
    )
    assert scaled == pytest.approx([3 * radius for radius in plain])


@pytest.mark.parametrize("planner", [option for option in OPTIONS if option.startswith("planner=")])
def test_diagnostics_work_with_every_planner(planner):
    config = configuration("diagnose", planner)
    diagnostics = build_diagnostics(config, Parts.build(config))
    assert diagnostics.descent.horizon == diagnostics.planner.horizon == 30
    assert diagnostics.descent.init is diagnostics.planner.init


def test_diagnostics_compare_the_attacks_of_training():
    diagnose, train = configuration("diagnose"), {name: configuration("train", f"attack={name}") for name in ATTACKS}
    compared = instantiate(diagnose.diagnostics.attack).attacks
    assert list(compared) == ["random", *ATTACKS]
    for name, config in train.items():
        assert diagnose.diagnostics.attack.attacks[name] == config.attack
    assert compared["random"].steps == 0
    assert compared["pgd"].radii.current().tolist() == pytest.approx([0.05, 0.02])


def test_diagnostics_have_no_settings_of_mpc():
    config = configuration("diagnose")
    assert not {"mpc", "adaptation", "compile"} & set(config)
    assert Parts.build(config).mpc is None


INITS = dict(gradient="Normal", multistart="Knots", cem="Zeros", icem="Zeros", mppi="Zeros", grad_cem="Zeros")


@pytest.mark.parametrize("name", ["train", "plan", "diagnose"])
@pytest.mark.parametrize(("planner", "init"), INITS.items())
def test_every_planner_has_its_default_init_unless_the_command_line_sets_another(name, planner, init):
    assert configuration(name, f"planner={planner}").init._target_.endswith(init)
    assert configuration(name, f"planner={planner}", "init=colored").init._target_.endswith("Colored")


def test_the_disagreement_weight_is_fixed_by_default_and_computed_by_the_calibrated_objective():
    terms = {name: instantiate(configuration("plan", f"objective={name}").objective).terms for name in OBJECTIVES}
    assert terms["uncertainty_aware"]["disagreement"].weight == 30
    assert terms["calibrated"]["disagreement"].automatic
    assert set(terms["smooth"]) == {"goal", "disagreement", "action_size", "smoothness"}
    assert set(terms["goal"]) == {"goal"}
