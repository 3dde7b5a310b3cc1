import json

from hypothesis import given
from hypothesis import strategies as st

from gapclose.sweeps.table import by_condition, caption, label, sentences, short_names, table_of
from tests.sweeps.conftest import leave_run, read_settings


def test_a_plain_sweep_has_a_column_for_each_key_and_its_best_rows_first(grid):
    columns, rows = table_of(read_settings(grid))
    assert columns[:4] == ["action_max", "horizon", "seeds", "success"]
    assert [row[:2] for row in rows] == [
        ["0.1", "25"], ["0.25", "25"], ["0.1", "50"], ["0.25", "50"], ["0.1", "150"], ["0.25", "150"]
    ]  # fmt: skip
    assert {len(row) for row in rows} == {len(columns)}
    assert "adapted MPC success" not in columns
    assert not [column for column in columns if "control" in column]
    assert "control" not in caption(read_settings(grid))


def test_methods_are_grouped_by_condition_with_their_control(methods):
    columns, rows = table_of(read_settings(methods))
    assert columns[:2] == ["condition", "method"]
    assert [row[:2] for row in rows] == [["ensemble", "online"], ["mlp", "online"], ["mlp", "continue"]]
    assert rows[1][columns.index("P(better)")] > "0.9"
    assert rows[1][columns.index("P(lower)")] == "> 0.999"
    assert "control: finetune=continue" in caption(read_settings(methods))


def test_with_an_oracle_the_table_shows_the_share_of_the_way_to_it_that_is_closed(methods):
    assert "closed" not in table_of(read_settings(methods))[0]
    leave_run(methods, ["finetune=none", "model=mlp"], 0, [1] * 4, [0.0] * 4, "none", models=["oracle"])
    columns, rows = table_of(read_settings(methods))
    by_method = {(row[0], row[1]): row for row in rows}
    for column in ("closed", "MPC closed"):
        assert by_method["mlp", "online"][columns.index(column)].startswith("0.67 [")
        assert by_method["mlp", "oracle"][columns.index(column)] == "–"
        assert by_method["ensemble", "online"][columns.index(column)] == "–"
    assert by_method["mlp", "online"][columns.index("MPC success − control")].startswith("+0.50 [")
    assert "closed: gap closed, (success − control)" in caption(read_settings(methods))


def test_settings_inside_a_method_define_another_method_not_another_condition(tmp_path):
    weight = "objective.terms.disagreement.weight"
    plain = dict(defaults=["radii=fixed", f"{weight}=30"])
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue", **plain)
    leave_run(tmp_path, ["finetune=online", "sweep=wall"], 0, [1, 1], [0.5, 0.5], **plain)
    leave_run(tmp_path, ["finetune=online", "finetune.rollouts.tasks=failures"], 0, [1, 1], [0.4, 0.4], **plain)
    leave_run(tmp_path, ["finetune=none", f"{weight}=300"], 0, [1, 1], [0.3, 0.3], "none", defaults=["radii=fixed"])
    settings = read_settings(tmp_path)
    assert list(by_condition(settings)) == ["all"]
    assert all("success" in setting.comparisons for setting in settings if setting.method["finetune"] != "continue")
    assert [row[1] for row in table_of(settings)[1]] == [
        "none, disagreement weight 300", "online, rollouts tasks failures", "online", "continue"
    ]  # fmt: skip


def test_settings_that_differ_only_in_adaptation_have_different_names(tmp_path):
    for adaptation, ways in (("none", ("open_loop", "mpc")), ("gradient", ("open_loop", "mpc", "mpc_adapted"))):
        leave_run(tmp_path, [f"adaptation={adaptation}"], 0, [1, 0], [0.1, 0.1], ways=ways)
    assert sorted(map(label, read_settings(tmp_path))) == ["adaptation none", "default"]


def test_a_sentence_describes_the_best_method_of_each_condition(methods):
    (sentence,) = sentences(read_settings(methods))
    assert sentence.startswith("mlp: online is not clearly different from continue: success +0.50 [")
    assert "on the same 4 tasks and 2 seeds; 2 tasks gained, 0 lost (p = 0.5 over seeds and tasks)" in sentence
    assert sentence.endswith("probability of a lower model error > 0.999.")


def test_the_p_value_of_the_best_of_many_is_corrected(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [0] * 10, [0.1] * 10, "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1] * 6 + [0] * 4, [0.1] * 10)
    assert sentences(read_settings(tmp_path))[0].startswith("online beats continue")
    for weight in (1, 2):
        leave_run(tmp_path, ["finetune=online", f"objective.x={weight}"], 0, [0] * 10, [0.1] * 10)
    (sentence,) = sentences(read_settings(tmp_path))
    assert sentence.startswith("online is not clearly different from continue")
    assert "(McNemar p = 0.09, corrected for the best of 3)" in sentence


def test_a_sentence_compares_the_best_setting_with_its_own_baseline(tmp_path):
    for model in ("mlp", "ensemble"):
        leave_run(tmp_path, [f"model={model}"], 0, [1, 1], [0.1, 0.1], models=["finetuned", "baseline"])
    (sentence,) = sentences(read_settings(tmp_path))
    assert sentence.startswith("ensemble: finetuned is not clearly different from its baseline: success +0.00 [")
    assert "(McNemar p = 1, corrected for the best of 2)" in sentence


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), unique=True, min_size=1))
def test_short_keys_are_ends_of_keys_and_differ(keys):
    names = short_names(keys)
    assert len(set(names)) == len(keys)
    assert all(f".{key}".endswith(f".{name}") for key, name in zip(keys, names))


def test_where_planners_are_compared_the_table_shows_their_planning_time(tmp_path):
    for planner, seconds in (("cem", 60.0), ("gradient", 1.5)):
        run = leave_run(tmp_path, [f"planner={planner}"], 0, [1, 0], [0.5, 0.5])
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["finetuned"]["open_loop"]["planning_seconds"] = seconds
        (run / "metrics.json").write_text(json.dumps(metrics))
    settings = read_settings(tmp_path)
    columns, rows = table_of(settings)
    assert {row[0]: row[columns.index("planning, s")] for row in rows} == {"cem": "60.0", "gradient": "1.5"}
    assert "planning: seconds" in caption(settings)


def test_gaps_of_diverged_rollouts_have_an_exponent(tmp_path):
    leave_run(tmp_path, ["model=mlp"], 0, [1, 0], [2e22, 0.0])
    leave_run(tmp_path, ["model=ensemble"], 0, [1, 0], [20.0, 0.0])
    columns, rows = table_of(read_settings(tmp_path))
    assert {row[0]: row[columns.index("gap")] for row in rows} == {"mlp": "1e+27", "ensemble": "1,000,000"}


def test_without_planners_to_compare_the_table_shows_no_planning_time(tmp_path):
    for seed in (0, 1):
        leave_run(tmp_path, ["model=mlp"], seed, [1, 0], [0.5, 0.5])
    assert "planning, s" not in table_of(read_settings(tmp_path))[0]
    assert "planning" not in caption(read_settings(tmp_path)).replace("open-loop planning", "")
