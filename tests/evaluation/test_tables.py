import io

import pytest
from rich.console import Console

from gapclose.evaluation.tables import (
    COLUMNS,
    COMPARISON_CAPTION,
    COMPARISON_COLUMNS,
    ERROR_COLUMNS,
    comparison_rows,
    error_rows,
    held_out_by_epoch,
    print_table,
    published_rows,
    results_rows,
    what_changed,
)


def evaluation(success=0.48, error=0.097, distance=0.81, gap=67_000.0):
    return {
        "planner": "gradient",
        "num_tasks": 100,
        "success_rate": success,
        "success_rate_ci95": [max(0.0, success - 0.1), min(1.0, success + 0.1)],
        "goal_distance": distance,
        "imagined_goal_distance": 0.0123,
        "exploitation": distance - 0.0123,
        "world_model_error": error,
        "world_model_error_median": 0.0123 * error,
        "world_model_error_q90": 2 * error,
        "left_world_rate": 0.25,
        "train_test_gap": gap,
        "model_calls": 123_400,
        "planning_seconds": 12.34,
    }


def gap_of(with_disagreement=True, **settings):
    ways = ["open_loop", *(["open_loop_without_disagreement"] if with_disagreement else []), "mpc"]
    return {"expert_error": 1.1e-5, **{way: evaluation(**settings) for way in ways}}


def metrics(**finetuned):
    found = {
        "finetune": "online",
        "baseline": gap_of(success=0.48, error=0.08, distance=0.8),
        "oracle": gap_of(success=0.97, error=0.0, gap=None),
    }
    return found | ({"finetuned": gap_of(**finetuned)} if finetuned else {})


def test_a_row_says_what_was_measured():
    (row,) = results_rows({"baseline": {"expert_error": 1e-5, "open_loop": evaluation()}})
    assert len(row) == len(COLUMNS)
    assert row == ["baseline", "open loop", "0.48 [0.38, 0.58]", "0.810", "0.012", "0.097", "67,000", "12.3 s"]


def test_the_errors_of_learned_models_are_told_by_mean_quantiles_and_plans_that_leave_the_world():
    rows = error_rows({"baseline": gap_of(with_disagreement=False, error=0.2), "oracle": gap_of(error=0.0)})
    assert [row[:2] for row in rows] == [["baseline", "open loop"], ["baseline", "MPC"]]
    assert rows[0][2:] == ["0.2", "0.0025", "0.4", "0.25"]
    assert len(rows[0]) == len(ERROR_COLUMNS)


def test_the_errors_of_an_earlier_run_are_dashes():
    gap = {"open_loop": {name: value for name, value in evaluation().items() if "_error_" not in name}}
    del gap["open_loop"]["left_world_rate"]
    assert error_rows({"baseline": gap})[0][2:] == ["0.097", "–", "–", "–"]


def test_there_is_a_row_for_every_model_and_way_in_order():
    rows = results_rows({"baseline": gap_of(), "finetuned": gap_of(with_disagreement=False)})
    assert [row[:2] for row in rows] == [
        ["baseline", "open loop"],
        ["baseline", "open loop, λ = 0"],
        ["baseline", "MPC"],
        ["finetuned", "open loop"],
        ["finetuned", "MPC"],
    ]


def test_a_missing_ratio_is_a_dash():
    (row,) = results_rows({"oracle": {"open_loop": evaluation(error=0.0, gap=None)}})
    assert row[5:7] == ["0", "–"]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_model_that_diverged_has_a_row_and_a_sentence_too(value):
    lost = dict.fromkeys(("imagined_goal_distance", "exploitation", "world_model_error", "train_test_gap"), value)
    way = evaluation() | lost
    cell = "inf" if value == float("inf") else "–"
    (row,) = results_rows({"baseline": {"open_loop": way}})
    assert row[4:7] == [cell] * 3
    (row,) = comparison_rows({"cem": {"open_loop": way}})
    assert row[4:6] == [cell] * 2
    broken = {"expert_error": value, "open_loop": way, "mpc": way}
    assert f"errs by {cell} under planning" in what_changed({"finetune": "none", "baseline": broken})
    both = what_changed({"finetune": "online", "baseline": broken, "finetuned": gap_of()})
    assert f"under planning from {cell} to 0.097 and" in both


def test_epochs_between_the_first_and_the_last_are_in_order():
    run = {"baseline": "before", "finetuned": "after"}
    each = [{"epoch": 2, "open_loop": "second"}, {"epoch": 1, "open_loop": "first"}]
    assert held_out_by_epoch(run, 3) == {0: "before", 3: "after"}
    assert list(held_out_by_epoch(run | {"each_epoch": each}, 3)) == [0, 1, 2, 3]
    assert held_out_by_epoch(run, None) == {0: "before"}
    assert held_out_by_epoch({"finetuned": "after"}, 3) == {3: "after"}


def test_published_figures_fill_the_columns_that_they_have():
    (row,) = published_rows({"baseline": PUBLISHED})
    assert row == ["published", "baseline", "0.00", "2.490", "", "0.74", "", ""]


def printed(rows, width=100):
    console = Console(file=io.StringIO(), width=width)
    print_table(rows, "wall, 100 held-out tasks, planner gradient", console=console)
    return console.file.getvalue().splitlines()


PUBLISHED = {"success_rate": 0.0, "goal_distance": 2.49, "world_model_error": 0.74}


def shows_every_cell(rows):
    lines = printed(rows)
    text = "\n".join(lines)
    body = [line for line in lines if "│" in line]
    return (
        max(map(len, lines)) <= 100
        and "…" not in text
        and all(column in text for column in COLUMNS)
        and len(body) == len(rows)
        and all(cell in line for line, row in zip(body, rows) for cell in row[1:])
    )


@pytest.mark.parametrize("error", [0.097, 1.1e-05, 12345.678, 0.0])
@pytest.mark.parametrize("gap", [67_000.0, 1.0, None])
def test_the_table_of_a_run_shows_every_cell_within_100_columns(error, gap):
    assert shows_every_cell(
        results_rows({name: gap_of(error=error, gap=gap) for name in ("baseline", "finetuned", "oracle")})
    )


def test_the_table_with_published_figures_shows_every_cell_within_100_columns():
    rows = results_rows({name: gap_of(with_disagreement=False) for name in ("baseline", "finetuned", "oracle")})
    assert shows_every_cell(rows + published_rows({"baseline": PUBLISHED, "finetuned": PUBLISHED}))


@pytest.mark.parametrize("gap", [1_234_567.0, 123_456_789.0])
def test_the_table_shows_every_cell_within_100_columns_also_where_a_gap_is_huge(gap):
    assert shows_every_cell(results_rows({name: gap_of(gap=gap) for name in ("baseline", "finetuned", "oracle")}))


def test_a_row_of_a_comparison_says_what_was_measured():
    (row,) = comparison_rows({"cem": {"open_loop": evaluation()}})
    assert len(row) == len(COMPARISON_COLUMNS)
    assert row == ["cem", "open loop", "0.48 [0.38, 0.58]", "0.810", "0.012", "0.798", "1,234", "12.34 s"]


def test_a_comparison_has_a_row_for_every_planner_and_way_in_the_order_given():
    rows = comparison_rows({"mppi": {"mpc": evaluation(), "open_loop": evaluation()}, "cem": {"mpc": evaluation()}})
    assert [row[:2] for row in rows] == [["mppi", "open loop"], ["mppi", "MPC"], ["cem", "MPC"]]


def test_the_table_of_a_comparison_fits_into_120_columns_and_explains_its_columns():
    names = ("predictive_sampling", "multistart", "grad_cem")
    rows = comparison_rows({name: {"open_loop": evaluation(), "mpc": evaluation()} for name in names})
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    print_table(rows, "wall, 100 tasks", COMPARISON_COLUMNS, COMPARISON_CAPTION, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    assert all(word in text for word in [*names, *COMPARISON_COLUMNS, "exploitation:", "calls:"])


def test_a_model_is_named_once_and_has_its_own_section():
    lines = printed(results_rows({"baseline": gap_of(), "oracle": gap_of()}))
    assert sum("baseline" in line for line in lines) == 1
    assert sum("├" in line for line in lines) == 1


def test_a_caption_explains_the_columns():
    text = " ".join(" ".join(printed(results_rows({"baseline": gap_of()}))).split())
    for word in ("distance:", "promised:", "model error:", "gap:", "λ = 0:"):
        assert word in text


def test_the_sentence_says_what_finetuning_changed():
    sentence = what_changed(metrics(success=1.0, error=0.001, distance=0.2))
    assert sentence.startswith("Finetuning (online)")
    assert "open-loop success from 48 % to 100 %" in sentence
    assert "with the true dynamics: 97 %" in sentence
    assert "error under planning from 0.08 to 0.001 (-98.8 %)" in sentence
    assert "distance to the goal from 0.8 to 0.2 (-75.0 %)" in sentence


def test_the_sentence_reports_a_change_for_the_worse():
    sentence = what_changed(metrics(success=0.1, error=0.16, distance=0.88))
    assert "from 48 % to 10 %" in sentence
    assert "(+100.0 %)" in sentence
    assert "(+10.0 %)" in sentence


def test_without_finetuning_the_sentence_says_what_is_wrong():
    sentence = what_changed(metrics())
    assert "error 1e-05 on held-out data" in sentence
    assert "0.08 under planning" in sentence
    assert "reaches 48 % of the goals" in sentence
    assert "true dynamics the same planner reaches 97 %" in sentence


def test_the_sentence_uses_only_the_models_that_were_evaluated():
    everything = metrics(success=1.0, error=0.001, distance=0.2)
    sentences = {}
    for missing in ("baseline", "finetuned", "oracle"):
        kept = {name: value for name, value in everything.items() if name != missing}
        sentences[missing] = what_changed(kept)
        alone = {name: value for name, value in everything.items() if name in ("finetune", missing)}
        sentences[f"{missing} alone"] = what_changed(alone)
    assert sentences["oracle"].startswith(
        "Finetuning (online) took open-loop success from 48 % to 100 % (MPC: from 48 % to"
    )
    assert "true dynamics" not in sentences["oracle"]
    assert sentences["finetuned"] == what_changed(metrics())
    assert sentences["baseline"] == (
        "After finetuning (online) the model errs by 0.001 under planning and reaches 100 % of the goals; "
        "with the true dynamics the same planner reaches 97 %."
    )
    assert sentences["finetuned alone"] == (
        "After finetuning (online) the model errs by 0.001 under planning and reaches 100 % of the goals."
    )
    assert sentences["baseline alone"].endswith("errs by 0.08 under planning and reaches 48 % of the goals.")
    assert sentences["oracle alone"] == "With the true dynamics the same planner reaches 97 % of the goals."


def test_a_baseline_without_error_has_a_sentence_too():
    perfect = metrics(error=0.001) | {"baseline": gap_of(error=0.0)}
    assert "from 0 to 0.001" in what_changed(perfect)
