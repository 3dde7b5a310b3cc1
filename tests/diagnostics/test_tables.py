import math

from gapclose.diagnostics.tables import cell, diagnostic_tables
from gapclose.evaluation.statistics import number

NAN = float("nan")


def estimated(mean, low=0.1, high=0.3):
    return {"mean": mean, "ci95": [low, high], "num_tasks": 9}


def metrics(ensemble=True, maps=True):
    outcome = dict(success_rate=0.5, success_rate_ci95=[0.4, 0.6], goal_distance=0.3, imagined_goal_distance=0.02)
    around = {"step_sizes": [0.1, 1.0], "gradient_variation": [estimated(0.2)] * 2, "curvature": estimated(1.5)}
    landscape = {"goal": {"initial": around, "plan": around, "descent": estimated(0.7)}}
    agreement = {key: estimated(0.25) for key in ("cosine", "share_negative", "without_gradient", "erased")}
    errors = {key: estimated(0.2) for key in ("expert", "real", "imagined", "impossible")}
    if maps:
        errors |= {key: estimated(0.2) for key in ("unvisited_real", "unvisited_imagined")}
        errors["arena"] = {"mean": 0.02, "median": 0.01}
    found = {
        "open_loop": outcome | {"world_model_error": 0.1},
        "attack": {"multiples": [1, 2], "clean": estimated(0.01)}
        | {key: dict.fromkeys(("random", "fgsm", "pgd"), [estimated(0.2)] * 2) for key in ("loss", "error")},
        "landscape": landscape,
        "errors": errors,
        "gradients": {"goal": dict.fromkeys(("random", "initial", "descent", "plan"), agreement)},
    }
    if ensemble:
        correlation = {"rank_correlation": -0.5, "ci95": [-0.7, NAN]}
        found["disagreement"] = {"arena": {"rank_correlation": NAN}, "real": correlation, "plans": correlation}
    return {"model": found, "oracle": {"open_loop": found["open_loop"], "landscape": landscape}}


def test_there_is_a_table_for_each_question_with_a_cell_for_each_column():
    tables = list(diagnostic_tables(metrics()))
    assert [table.title[0] for table in tables] == list("012345")
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [len(table.rows) for table in tables] == [2, 7, 6, 1, 4, 1]


def test_missing_results_are_left_out():
    tables = list(diagnostic_tables(metrics(ensemble=False, maps=False)))
    assert [table.title[0] for table in tables] == list("01234")
    assert tables[3].rows[0][4:] == ["–", "0.20 [0.10, 0.30]", "–", "–"]


def test_without_gradients_of_the_simulator_there_is_no_table_of_agreement_and_no_oracle():
    found = metrics()
    del found["model"]["gradients"]
    found["oracle"] = {}
    tables = list(diagnostic_tables(found))
    assert [table.title[0] for table in tables] == list("01235")
    assert [len(table.rows) for table in tables] == [1, 7, 3, 1, 1]


def test_an_estimate_is_shown_with_its_interval_and_a_missing_number_as_a_dash():
    assert cell(estimated(0.254)) == "0.25 [0.1, 0.3]"
    assert cell(estimated(NAN, NAN, NAN), ".2f") == "–"
    assert number(None) == number(math.nan) == "–"
    assert list(diagnostic_tables(metrics()))[-1].rows == [["model", "–", "-0.50 [-0.70, –]", "–", "-0.50 [-0.70, –]"]]
