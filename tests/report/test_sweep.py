"""The report of a sweep, without a browser."""

import pandas as pd
import pytest

from gapclose.errors import UserError
from gapclose.report.folder import write_report
from gapclose.report.sweep_figures import effects, ordered
from tests.report.conftest import gap
from tests.report.test_run import Structure


@pytest.fixture
def sweep(make_run):
    """Two models and two seeds, and a job that failed."""
    for model, rate in (("mlp", 0.5), ("ensemble", 1.0)):
        for seed in (0, 1):
            overrides = ("finetune=online", f"model={model}", f"seed={seed}")
            found = gap(rate, 0.1 * rate)
            folder = make_run(
                f"sweep/{model}{seed}", overrides=overrides, seed=seed, model=model, finetuned=found
            ).parent
    failed = make_run("sweep/failed", overrides=("model=<b>", "seed=9"))
    (failed / "metrics.json").unlink()
    (failed / "error.txt").write_text("model=<b> is unknown.\n")
    return folder


def test_the_page_names_the_best_setting_and_links_to_every_run(sweep):
    write_report(sweep / "mlp0")
    text = write_report(sweep).read_text()
    structure = Structure(text)
    assert not structure.open
    assert {"mlp0/report.html", "mlp1", "ensemble0", "ensemble1", "failed/error.txt"} <= set(structure.references)
    assert not any("//" in reference for reference in structure.references)
    assert "Best of 2 settings is" in text
    assert "What matters most is model: where all else is equal, 50 %" in text
    assert {"Settings", "What came of it", "What matters", "Every run", "Without results"} <= set(structure.headings)
    assert "model=&lt;b&gt; is unknown." in text
    assert len(text) < 5e6


def test_a_folder_without_runs_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no run"):
        write_report(tmp_path)


def test_a_setting_is_not_credited_with_what_another_one_does():
    """`b` varies only together with `a`, but for two runs, which are equally good."""
    table = pd.DataFrame(
        {"a": ["x", "x", "y", "y"], "b": ["", 1, 1, 1], "seed": [0, 0, 0, 1], "success": [0.2, 0.2, 1.0, 1.0]}
    )
    found = effects(table, ["a", "b", "seed"])
    assert list(found) == ["a", "b", "seed"]
    assert found["a"].to_dict() == pytest.approx({"x": 0.2, "y": 1.0})
    assert found["b"].to_dict() == pytest.approx({"1": 0.2, "–": 0.2})
    assert effects(table[["a", "success"]], ["a"])["a"].index.tolist() == ["x", "y"]


def test_numbers_are_ordered_by_size_and_words_by_the_alphabet():
    assert ordered(pd.Series([10, 9, 1])) == ["1", "9", "10"]
    assert ordered(pd.Series(["b", "", "a"])) == ["a", "b", "–"]
