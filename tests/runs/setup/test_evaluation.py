"""Which models a run evaluates, and when."""

from pathlib import Path

import pytest
import torch

from gapclose.logging.metrics import flatten
from gapclose.models.oracle import OracleWorldModel
from gapclose.runs.setup.evaluation import Evaluation
from gapclose.runs.setup.parts import Parts
from gapclose.runs.setup.world_models import build_world_model
from tests.runs.conftest import TINY, TINY_FINETUNE, TINY_ONLINE, finetuned_weights, metrics_of, without_times
from tests.test_conf import configuration


@pytest.fixture
def train(call, trained):
    """Trains with tiny settings on existing data, and returns the metrics and the output."""

    def run(folder, *settings):
        answer = call("train", *TINY, *settings, f"data_dir={trained / 'data'}", f"hydra.run.dir={folder}")
        assert answer.code == 0, answer.err
        return metrics_of(folder), answer.out

    return run


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["init=policy", "adaptation=gradient"],
        ["objective.terms.disagreement.weight=0"],
        ["objective=calibrated"],
        ["objective=goal"],
    ],
)
def test_the_metrics_that_a_search_accepts_are_those_that_are_measured(settings, trajectories):
    tiny = [setting for setting in TINY if not setting.startswith("evaluation")]
    config = configuration("train", *tiny, *settings)
    parts = Parts.build(config)
    models = ["baseline", "finetuned", "oracle"]
    evaluation = Evaluation(parts.simulator, parts.mpc, parts.objective, "multistart", num_tasks=2, models=models)
    model = build_world_model(config, parts.simulator)
    model.fit_normalization(trajectories)
    gaps = {"baseline": model, "oracle": OracleWorldModel(parts.simulator)}
    gaps = {name: evaluation.measure(model, trajectories, torch.device("cpu"))[0] for name, model in gaps.items()}
    excluded = ("disagreement_weight", "num_tasks", "low", "high")
    measured = [name for name in flatten(gaps | {"finetuned": gaps["baseline"]}) if not name.endswith(excluded)]
    assert sorted(evaluation.possible_metrics(finetuned=True)) == sorted(measured)
    assert not any(name.startswith("finetuned") for name in evaluation.possible_metrics(finetuned=False))


@pytest.mark.parametrize("mode", ["continue", "adversarial"])
def test_every_mode_of_finetuning_can_be_evaluated_each_epoch(train, mode, rendered):
    settings = [f"finetune={mode}", *TINY_FINETUNE]
    metrics, _ = train("run", *settings, "evaluation.each_epoch=true", "evaluation.models=[finetuned]")
    entries = metrics["each_epoch"]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    assert all("mpc" not in entry for entry in entries)
    last = {name: value for name, value in metrics["finetuned"].items() if name != "mpc"}
    assert without_times(entries[-1]) == without_times({"epoch": 3, **last})
    assert entries[0]["expert_error"] != entries[1]["expert_error"]
    assert Path("run/finetuning_epochs.png").stat().st_size > 1000


def test_evaluation_each_epoch_does_not_change_other_results(train, trained):
    metrics, _ = train("run", *TINY_ONLINE, "evaluation.each_epoch=true", "logger=csv")
    metrics.pop("each_epoch")
    assert without_times(metrics) == without_times(metrics_of(trained / "run"))
    weights, expected = finetuned_weights("run"), finetuned_weights(trained / "run")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    header = next(Path("run").rglob("metrics.csv")).read_text().splitlines()[0]
    assert "held_out/open_loop/success_rate" in header


def test_without_finetuning_there_are_no_epochs_to_evaluate_after(train):
    metrics, _ = train("run", "evaluation.each_epoch=true", "evaluation.models=[baseline]")
    assert "each_epoch" not in metrics
    assert "gradient_steps" not in metrics


@pytest.mark.parametrize(
    ("models", "mode"),
    [
        ("[oracle]", "online"),
        ("[oracle,finetuned]", "online"),
        ("[baseline,finetuned]", "none"),
    ],
)
def test_only_the_chosen_models_are_evaluated(train, trained, models, mode):
    settings = [*(TINY_ONLINE if mode == "online" else []), f"evaluation.models={models}", "logger=tensorboard"]
    pytest.importorskip("tensorboard")
    metrics, out = train("run", *settings)
    named = set(models.strip("[]").split(",")) - ({"finetuned"} if mode == "none" else set())
    assert {"baseline", "finetuned", "oracle"} & set(metrics) == named
    expected = metrics_of(trained / "run")
    for name in named:
        assert without_times(metrics[name]) == without_times(expected[name])
        assert f"│ {name}" in out
    pictures = {"plans.png"} | ({"error_along_horizon.png"} if named != {"oracle"} else set())
    pictures |= {"finetuning_epochs.png"} if mode == "online" else set()
    assert {path.name for path in Path("run").glob("*.png")} == pictures
