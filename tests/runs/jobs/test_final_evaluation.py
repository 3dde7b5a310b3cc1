"""The final evaluation of a run, also with additional planners, and its report."""

import json
from pathlib import Path

import pytest

from gapclose.report.record import read_plans
from gapclose.sweeps.runs import read_runs
from tests.runs.conftest import TINY, TINY_FINETUNE, TINY_ONLINE, metrics_of, without_times


def test_resuming_a_finished_run_changes_nothing(call, trained):
    before = (trained / "run" / "metrics.json").read_bytes()
    assert call("train", f"resume={trained / 'run'}").code == 0
    assert (trained / "run" / "metrics.json").read_bytes() == before


def test_the_automatic_disagreement_weight_is_computed_for_each_model(call):
    assert call("train", *TINY, *TINY_ONLINE, "objective=calibrated", "hydra.run.dir=run").code == 0
    weights = {model: metrics_of("run")[model]["disagreement_weight"] for model in ("baseline", "finetuned")}
    assert weights["baseline"] != weights["finetuned"]


def test_a_run_writes_a_report_and_the_data_in_it(call, trained):
    run = trained / "run"
    page = (run / "report.html").read_text()
    assert "Plans: imagined and executed" in page
    assert "One-step errors" in page
    assert "The planning cost" in page
    _, plans = read_plans(run / "plans.npz")
    assert list(plans) == ["baseline", "finetuned", "oracle"]
    success = plans["finetuned"]["mpc"].success.mean()
    assert success == pytest.approx(metrics_of(run)["finetuned"]["mpc"]["success_rate"])
    assert set(metrics_of(run)["versions"]) >= {"gapclose", "python", "torch"}


def test_a_run_is_finished_even_if_its_report_fails(call, trained, monkeypatch, rendered):
    def fail(folder, metrics):
        raise RuntimeError("no room")

    monkeypatch.setattr("gapclose.runs.jobs.final_evaluation.write_run_report", fail)
    answer = call("train", *TINY, f"data_dir={trained / 'data'}", "hydra.run.dir=run")
    assert answer.code == 0
    assert (Path("run") / "metrics.json").exists()
    (warning,) = [line for line in Path("run/train.log").read_text().splitlines() if "WARNING" in line]
    assert "no room" in warning
    assert "python -m gapclose.report" in warning
    assert not Path("run/report.html").exists()


def test_results_with_additional_planners_equal_those_of_runs_with_these_planners(call):
    shared = [setting for setting in TINY if not setting.startswith("planner")]
    shared += ["finetune=continue", *TINY_FINETUNE, "planner.horizon=6", "mpc.max_steps=3", "evaluation.num_tasks=2"]
    cem = ["planner=cem", "planner.iterations=1", "planner.num_samples=4", "planner.num_elites=2"]
    entries = ["gradient", "cem planner.iterations=2 planner.num_samples=8 planner.num_elites=2"]
    answer = call("train", *shared, *cem, f"compare={json.dumps(entries)}", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    results, missing = read_runs(Path("run"))
    assert not missing
    described = [" ".join(["cem", *sorted(settings)]) for settings in (cem[1:], entries[1].split()[1:])]
    assert [run.value("planner") for run in results] == [*described, "gradient"]
    assert [run.evaluated_models for run in results] == [["finetuned"]] * 3
    models = ["baseline", "finetuned"]
    alone = ["planner=gradient", "evaluation.models=[baseline,finetuned]", "hydra.run.dir=alone"]
    assert call("train", *shared, *alone).code == 0
    metrics = json.loads(Path("alone/metrics.json").read_text())
    assert [without_times(metrics[model]) for model in models] == [
        without_times(results[2].metrics[model]) for model in models
    ]


def test_a_finished_run_is_evaluated_with_new_planners_only_and_nothing_is_repeated(call):
    shared = [*TINY, "finetune=continue", *TINY_FINETUNE, "evaluation.models=[finetuned]", "hydra.run.dir=run"]
    assert call("train", *shared, "compare=['gradient planner.iterations=2']").code == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*.*") if path.suffix in (".json", ".ckpt")}
    assert call("train", *shared, "compare=['gradient planner.iterations=2',predictive_sampling]").code == 0
    after = {path: path.read_bytes() for path in Path("run").rglob("*.*") if path.suffix in (".json", ".ckpt")}
    (added,) = after.keys() - before.keys()
    assert added == Path("run/compare/planner-predictive_sampling/metrics.json")
    assert all(after[path] == content for path, content in before.items())


def test_results_of_a_planner_with_other_settings_are_refused(call):
    planner = "'gradient planner.iterations=2'"
    settings = [*TINY, "evaluation.models=[baseline]", f"compare=[{planner}]", "hydra.run.dir=run"]
    assert call("train", *settings).code == 0
    stored = Path("run/compare/planner-gradient+planner.iterations-2/config.yaml")
    stored.write_text(stored.read_text().replace("lr: 0.1", "lr: 0.7"))
    answer = call("train", *settings)
    assert answer.code == 1
    assert "run/compare/planner-gradient+planner.iterations-2 holds a run of another configuration" in answer.err


def test_an_unknown_planner_in_compare_is_refused_before_any_work(call):
    answer = call("train", *TINY, "compare=[gradient,teleport]")
    assert answer.code == 1
    assert "The entry 'teleport' of compare is invalid: In 'train': Could not find 'planner/teleport'" in answer.err
    assert not Path("data").exists()
