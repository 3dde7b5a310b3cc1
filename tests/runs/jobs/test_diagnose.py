import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from tests.runs.conftest import TINY, TINY_PLAN, TINY_POLICY, is_one_sentence

TINY_DIAGNOSE = [setting for setting in TINY_PLAN if not setting.startswith("data")]
TINY_DIAGNOSE += ["num_tasks=3", "descent.iterations=3", "diagnostics.samples=2", "diagnostics.slice_points=5"]
TINY_DIAGNOSE += ["diagnostics.error_maps.cells=8", "diagnostics.error_maps.actions_per_cell=2"]
TINY_DIAGNOSE += ["diagnostics.roughness.power_iterations=2", "diagnostics.attack.multiples=[1,4]"]
PICTURES = {"attacks", "roughness", "landscape", "gradients", "error_maps", "densities"}


@pytest.fixture
def diagnose(call):
    return lambda *arguments: call("diagnose", *TINY_DIAGNOSE, *arguments, "hydra.run.dir=run")


@pytest.fixture
def pair(trained):
    (baseline,) = (trained / "data" / "baselines").glob("*.ckpt")
    return [f"checkpoint=[{baseline},{trained / 'run/checkpoints/last.ckpt'}]", f"data_dir={trained / 'data'}"]


def missing(content, *keys):
    """The dotted keys of values that are not finite numbers."""
    if isinstance(content, dict):
        return [place for key, value in content.items() for place in missing(value, *keys, key)]
    if isinstance(content, list):
        return [place for value in content for place in missing(value, *keys)]
    return [] if isinstance(content, (int, float)) and math.isfinite(content) else [".".join(keys)]


def test_checkpoints_are_diagnosed_side_by_side_with_equal_results_in_every_run(
    call, diagnose, pair, trained, monkeypatch, rendered
):
    data = sorted(path.name for path in (trained / "data").iterdir())
    answer = diagnose(*pair, "names=[before,after]")
    assert answer.code == 0, answer.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert list(metrics["models"]) == ["before", "after", "oracle"] == [*metrics["checkpoints"], "oracle"]
    for name in ("before", "after"):
        found = metrics["models"][name]
        assert {"open_loop", "attack", "landscape", "gradients", "errors", "disagreement"} == set(found)
        assert set(found["landscape"]) == set(found["gradients"]) == {"goal", "objective"}
        assert [len(entries) for entries in found["attack"]["loss"].values()] == [2, 2, 2]
        # With three plans, some bootstrap resamples consist of a single plan, which has no correlation.
        assert set(missing(found)) <= {"disagreement.plans.ci95"}
    assert metrics["models"]["oracle"]["open_loop"]["world_model_error"] < 1e-9
    # The states that finetuning added belong to the training data.
    unvisited = [metrics["models"][name]["errors"]["unvisited_real"]["mean"] for name in ("before", "after")]
    assert unvisited[1] < unvisited[0]
    assert {path.stem for path in Path("run").glob("*.png")} == PICTURES | {"disagreement"}
    for number, title in enumerate(("Outcome of planning", "attack", "smooth", "errors", "gradients", "disagreement")):
        assert f"{number}. " in answer.out
        assert title in answer.out
    assert sorted(path.name for path in (trained / "data").iterdir()) == data

    monkeypatch.setattr("gapclose.runs.jobs.diagnose.draw_all", lambda *_: [])
    again = ["names=[before,after]", "hydra.run.dir=again"]
    assert call("diagnose", *TINY_DIAGNOSE, *pair, *again).code == 0
    repeated = json.loads(Path("again/metrics.json").read_text())
    for model in (*metrics["models"].values(), *repeated["models"].values()):
        del model["open_loop"]["planning_seconds"]
    assert metrics == repeated


def test_without_ensemble_there_is_no_disagreement_and_without_position_states_no_maps(call, diagnose, monkeypatch):
    monkeypatch.setattr("gapclose.diagnostics.diagnosis.Grid.over", lambda *_: None)
    assert call("train", *TINY, "model=mlp", "baseline.epochs=1", "hydra.run.dir=trained").code == 0
    (checkpoint,) = Path("data/baselines").glob("*.ckpt")
    answer = diagnose(f"checkpoint={checkpoint}", *TINY_POLICY, "init=policy")
    assert answer.code == 0, answer.err
    found = json.loads(Path("run/metrics.json").read_text())["models"][checkpoint.stem]
    assert "disagreement" not in found
    assert set(found["landscape"]) == {"goal"}
    assert not missing(found)
    assert "arena" not in found["errors"]
    assert {path.stem for path in Path("run").glob("*.png")} == PICTURES - {"error_maps", "densities"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "give the .ckpt file of a model, or a list"),
        (["checkpoint=[]"], "checkpoint is []"),
        (["checkpoint=nowhere.ckpt"], "no checkpoint nowhere.ckpt"),
        (["checkpoint=[nowhere.ckpt,a/nowhere.ckpt]"], "nowhere, nowhere; give each of the 2 a name"),
        (["checkpoint=nowhere.ckpt", "names=[a,b]"], "give each of the 1 a name"),
        (["checkpoint=nowhere.ckpt", "names=[oracle]"], "other than oracle"),
        (["model=oracle"], "model=oracle has nothing to diagnose"),
        (["trainer=ddp"], "leave out trainer=ddp"),
        (["num_tasks=0"], "num_tasks is 0"),
        (["diagnostics.attack.multiples=[]"], "diagnostics.attack.multiples is []"),
        (["diagnostics.roughness.step_sizes=[-1]"], "step_sizes is -1"),
        (["diagnostics.error_maps.cells=0"], "cells is 0"),
        (["diagnostics.samples=0"], "diagnostics.samples is 0"),
        (["descent.lr=0"], "descent.lr is 0"),
        (["descent.iterations=0"], "descents of all models must have the same number of iterations"),
        (["+descent.seconds=1e-9"], "descents of all models must have the same number of iterations"),
        (["radii=learned"], "are learned"),
        (["adaptation=gradient"], "adaptation"),
        (["device=abacus"], "no device abacus"),
    ],
    ids=str,
)
def test_an_invalid_command_is_refused_in_one_sentence(diagnose, trained, arguments, named):
    if not any(argument.startswith(("checkpoint", "model", "names")) for argument in arguments) and arguments:
        arguments = [f"checkpoint={trained / 'run/checkpoints/last.ckpt'}", *arguments]
    answer = diagnose(*arguments)
    assert answer.code == 1
    assert is_one_sentence(answer.err), answer.err
    assert named in answer.err
    assert not Path("run/config.yaml").exists()


def test_checkpoints_of_different_environments_are_refused(diagnose, trained):
    ours = trained / "run/checkpoints/last.ckpt"
    other = torch.load(ours, weights_only=True)
    other["config"]["env"]["wall_thickness"] = 0.4
    torch.save(other, "other.ckpt")
    answer = diagnose(f"checkpoint=[{ours},other.ckpt]", "names=[a,b]")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert "env.wall_thickness is 0.2 for a and 0.4 for b" in answer.err


def test_every_checkpoint_is_diagnosed_on_its_own_data(call, trained, monkeypatch):
    monkeypatch.setattr("gapclose.runs.jobs.diagnose.draw_all", lambda *_: [])
    ours, data = trained / "run/checkpoints/last.ckpt", f"data_dir={trained / 'data'}"
    other = torch.load(ours, weights_only=True)
    other["config"]["data"]["seed"] = 7
    torch.save(other, "other.ckpt")
    settings = [setting for setting in TINY_DIAGNOSE if not setting.startswith("data")]
    found = {}
    for paths, names in ((f"{ours},other.ckpt", "a,b"), ("other.ckpt", "b")):
        arguments = [*settings, f"checkpoint=[{paths}]", f"names=[{names}]", data, "hydra.run.dir=run"]
        answer = call("diagnose", *arguments)
        assert answer.code == 0, answer.err
        found[names] = json.loads(Path("run/metrics.json").read_text())["models"]
        shutil.rmtree("run")
    beside, alone = found["a,b"], found["b"]
    for question in ("errors", "attack"):
        assert beside["b"][question] == alone["b"][question] != beside["a"][question]


@pytest.mark.parametrize("sampling", [False, True])
def test_diagnostics_that_need_gradients_of_the_simulator_are_left_out_if_it_has_none(call, trained, sampling):
    shutil.copy(trained / "run/checkpoints/last.ckpt", "other.ckpt")
    settings = [*TINY_DIAGNOSE, "env._target_=tests.fixtures.Engine"]
    if sampling:
        settings = [setting for setting in settings if not setting.startswith("planner.num")]
        settings += ["planner=icem", "planner.num_samples=8", "planner.num_elites=4"]
    settings = [*settings, f"data_dir={trained / 'data'}", "checkpoint=other.ckpt", "hydra.run.dir=run"]
    answer = call("diagnose", *settings)
    assert answer.code == 0, answer.err
    models = json.loads(Path("run/metrics.json").read_text())["models"]
    assert set(models["other"]) == {"open_loop", "attack", "landscape", "errors", "disagreement"}
    assert models.get("oracle", {}).keys() == ({"open_loop"} if sampling else set())
    assert {path.stem for path in Path("run").glob("*.png")} == PICTURES - {"gradients"} | {"disagreement"}
    assert "Without gradients of wall" in Path("run/diagnose.log").read_text()
    assert "4. " not in answer.out
