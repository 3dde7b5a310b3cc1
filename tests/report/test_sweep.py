"""The report of a sweep, without a browser."""

import pandas as pd
import pytest

from gapclose.errors import UserError
from gapclose.evaluation.outcomes import read_outcomes, write_outcomes
from gapclose.evaluation.statistics import Estimate
from gapclose.report.folder import write_report
from gapclose.report.sweep_figures import ordered, outcome_section
from tests.report.conftest import NUM_TASKS, gap
from tests.report.test_run import Structure


@pytest.fixture
def sweep(make_run):
    """Two models and two seeds, and a job that failed."""
    for model, rate in (("mlp", 0.5), ("ensemble", 1.0)):
        for seed in (0, 1):
            overrides = ("finetune=online", f"model={model}", f"seed={seed}")
            finetuned = gap(rate, 0.1 * rate)
            run = make_run(f"sweep/{model}{seed}", overrides=overrides, seed=seed, model=model, finetuned=finetuned)
            tasks = read_outcomes(run / "tasks.csv")
            tasks.loc[tasks.model == "finetuned", "success"] = (tasks.task < rate * NUM_TASKS).astype(int)
            write_outcomes(run / "tasks.csv", tasks)
            folder = run.parent
    failed = make_run("sweep/failed", overrides=("model=<b>", "seed=9"))
    (failed / "metrics.json").unlink()
    (failed / "error.txt").write_text("model=<b> is unknown.\n")
    return folder


def test_the_page_names_the_best_setting_and_links_to_every_run(sweep):
    write_report(sweep / "mlp0")
    text = write_report(sweep).read_text()
    structure = Structure(text)
    assert not structure.open
    runs = {"./mlp0/report.html", "./mlp1", "./ensemble0", "./ensemble1", "./failed/error.txt"}
    assert runs <= set(structure.references)
    assert not any("//" in reference for reference in structure.references)
    assert "Best of 2 settings is" in text
    assert (
        "The setting that matters most is model: with all else equal, 50 % of plans reach their goal with mlp" in text
    )
    assert "The seed alone makes a difference of 0 points." in text
    assert {"Settings", "Results by setting", "Main effects", "All runs", "Without results"} <= set(structure.headings)
    assert "model=&lt;b&gt; is unknown." in text
    assert len(text) < 5e6


def test_links_work_for_folders_of_any_name(make_run):
    for number, name in enumerate(("a=1,b=50%", "what?#<1>", "http:x")):
        run = make_run(f"sweep/{name}", overrides=(f"a={number}",))
    references = Structure(write_report(run.parent).read_text()).references
    assert {"./a=1,b=50%25", "./what%3F%23%3C1%3E", "./http%3Ax"} <= set(references)


def test_of_settings_with_equal_success_the_headline_names_the_first_row_of_the_table(make_run):
    for model, error in (("ensemble", 0.2), ("mlp", 0.1)):
        run = make_run(f"ties/{model}", overrides=(f"model={model}", "seed=0"), model=model)
        tasks = read_outcomes(run / "tasks.csv")
        tasks.loc[tasks.model == "finetuned", "world_model_error"] = error
        write_outcomes(run / "tasks.csv", tasks)
    text = write_report(run.parent).read_text()
    assert "Best of 2 settings is default, mlp:" in text
    assert text.index("<td>mlp</td>") < text.index("<td>ensemble</td>")


def test_settings_with_equal_names_have_separate_rows_in_the_chart():
    estimates = {"success": Estimate(0.5, 0.4, 0.6), "model error": Estimate(0.1, 0.1, 0.2)}
    success, error = outcome_section([("one", estimates), ("one", estimates)]).charts
    assert [chart.figure.data[0].y for chart in (success, error)] == [(0, 1)] * 2
    assert success.figure.layout.yaxis.ticktext == ("one", "one")


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no run"):
        write_report(tmp_path)


def test_numbers_are_ordered_by_size_and_words_by_the_alphabet():
    assert ordered(pd.Series([10, 9, 1])) == ["1", "9", "10"]
    assert ordered(pd.Series(["b", "", "a"])) == ["a", "b", "–"]
