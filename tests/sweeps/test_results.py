import math

import pytest

from gapclose.sweeps.csv_tables import summary, timings
from gapclose.sweeps.results import has_control, read_results
from tests.sweeps.conftest import leave_run, read_settings


def test_runs_that_differ_only_in_the_seed_are_one_setting(methods):
    settings = read_settings(methods)
    assert [setting.condition for setting in settings] == [{"model": "ensemble"}, {"model": "mlp"}, {"model": "mlp"}]
    assert [setting.method["finetune"] for setting in settings] == ["online", "continue", "online"]
    assert all(setting.seeds == [0, 1] for setting in settings)
    assert [setting.estimates["success"].mean for setting in settings] == [1.0, 0.25, 0.75]
    assert settings[2].estimates["model error"].mean == pytest.approx(0.1)
    assert settings[2].seconds["run"] == 10.5
    assert settings[2].means["simulator_steps"] == 3000


def test_a_setting_is_compared_with_the_control_of_its_own_condition(methods):
    other, control, online = read_settings(methods)
    assert control.comparisons == other.comparisons == {}
    assert (control.reference, other.reference, online.reference) == ("", "", "control")
    assert online.comparisons["success"].difference.mean == pytest.approx(0.5)
    assert (online.comparisons["success"].gained, online.comparisons["success"].lost) == (2, 0)
    error = online.comparisons["model error"]
    assert error.difference.mean == pytest.approx(-0.2)
    assert error.difference.high < 0
    assert error.ratio.mean == pytest.approx(1 / 3)
    assert error.ratio.high < 1
    assert error.better > 0.99


def test_a_setting_is_compared_on_the_seeds_that_the_control_has_too(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online"], 1, [0, 0], [0.1, 0.1])
    _, online = read_settings(tmp_path)
    assert online.estimates["model error"].mean == pytest.approx(0.3)
    assert online.comparisons["model error"].ratio.mean == pytest.approx(0.5)
    assert online.comparisons["success"].difference.mean == pytest.approx(0.5)
    assert (online.comparisons["success"].seeds, online.comparisons["success"].tasks) == (1, 2)


def test_of_several_controls_the_most_similar_is_used(tmp_path):
    for baseline, success in (("teacher_forcing", [0, 0]), ("multi_step", [1, 0])):
        leave_run(tmp_path, [f"baseline={baseline}"], 0, success, [1.0, 1.0], "continue")
        leave_run(tmp_path, [f"baseline={baseline}"], 0, [1, 1], [1.0, 1.0], "online")
    gained = {
        one.method["baseline"]: one.comparisons["success"].gained for one in read_settings(tmp_path) if one.comparisons
    }
    assert gained == {"multi_step": 1, "teacher_forcing": 2}


def leave_methods(folder, control, online, oracle):
    """Leaves two equal seeds of control and online finetuning, and one run of the oracle."""
    for seed in (0, 1):
        leave_run(folder, ["finetune=continue"], seed, control, [1.0] * len(control), "continue")
        leave_run(folder, ["finetune=online"], seed, online, [1.0] * len(online))
    leave_run(folder, ["finetune=none"], 0, oracle, [0.0] * len(oracle), "none", models=["oracle"])


def test_the_share_of_the_way_to_the_oracle_that_is_closed(tmp_path):
    control, online, oracle = [0] * 20 + [1] * 20, [1] * 12 + [0] * 8 + [1] * 20, [1] * 36 + [0] * 4
    leave_methods(tmp_path, control, online, oracle)
    found = {setting.method["finetune"]: setting for setting in read_settings(tmp_path)}
    for measure in ("success", "MPC success"):
        share = found["online"].closed[measure]
        assert share.mean == pytest.approx(12 / 16)
        assert 0.4 < share.low < 0.75 < share.high
    assert found["continue"].closed == found["oracle"].closed == {}
    (row,) = [row for row in summary(list(found.values())).to_dict("records") if row["finetune"] == "online"]
    assert row["MPC success closed"] == pytest.approx(0.75)


def test_no_share_is_closed_if_the_oracle_is_not_clearly_better_than_the_control(tmp_path):
    leave_methods(tmp_path, [0] + [1] * 19, [1] * 20, [1] * 20)
    assert all(setting.closed == {} for setting in read_settings(tmp_path))


def test_an_oracle_with_another_planner_is_not_used(tmp_path):
    for mode, success in (("continue", [0] * 10), ("online", [1] * 10)):
        leave_run(tmp_path, [f"finetune={mode}", "planner=gradient"], 0, success, [1.0] * 10, mode)
    oracle = ["finetune=none", "planner=cem"]
    leave_run(tmp_path, oracle, 0, [1] * 10, [0.0] * 10, "none", models=["oracle"])
    assert all(setting.closed == {} for setting in read_settings(tmp_path))


def test_a_plain_sweep_is_compared_with_its_own_baselines(tmp_path):
    both = ["finetuned", "baseline"]
    run = leave_run(tmp_path, ["model=mlp"], 0, [1, 1], [0.1, 0.1], models=both)
    text = (run / "tasks.csv").read_text()
    (run / "tasks.csv").write_text(text.replace("baseline,open_loop,0,1,", "baseline,open_loop,0,0,"))
    leave_run(tmp_path, ["model=ensemble"], 0, [1, 1], [0.1, 0.1])
    ensemble, mlp = read_settings(tmp_path)
    assert not has_control([ensemble, mlp])
    assert (ensemble.reference, mlp.reference) == ("", "baseline")
    assert (mlp.comparisons["success"].gained, mlp.comparisons["MPC success"].gained) == (1, 0)


def test_baseline_and_oracle_of_the_same_setting_may_come_from_two_runs(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline"])
    leave_run(tmp_path, ["finetune=none"], 0, [1, 1], [0.1, 0.1], "none", models=["oracle"])
    leave_run(tmp_path, ["finetune=none"], 0, [0, 0], [0.1, 0.1], "none", models=["oracle"])
    results = read_results(tmp_path)
    found = {one.method["finetune"]: one.estimates["success"].mean for one in results.settings}
    assert found == {"none": 0.5, "oracle": 1.0}
    assert [(one.folder, one.reason) for one in results.missing] == [("run2", "it repeats run1")]


def test_of_two_equal_runs_the_one_that_also_has_the_oracle_is_kept(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline"])
    leave_run(tmp_path, ["finetune=none"], 0, [1, 1], [0.1, 0.1], "none", models=["baseline", "oracle"])
    results = read_results(tmp_path)
    assert [one.method["finetune"] for one in results.settings] == ["none", "oracle"]
    assert [(one.folder, one.reason) for one in results.missing] == [("run0", "it repeats run1")]


def test_runs_without_finetuning_have_rows_for_baseline_and_oracle(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline", "oracle"])
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.1, 0.1], models=["finetuned", "oracle"])
    found = {setting.method["finetune"]: setting.estimates["success"].mean for setting in read_settings(tmp_path)}
    assert found == {"none": 0.5, "online": 1.0, "oracle": 0.5}


def test_a_single_setting_is_a_sweep_too(tmp_path):
    leave_run(tmp_path, ["finetune=online"], 0, [1, 0], [0.5, 0.5], ways=("open_loop",))
    (setting,) = read_settings(tmp_path)
    assert "MPC success" not in setting.estimates
    assert setting.values == {"finetune": "online"}


def test_a_setting_with_a_diverged_model_has_no_gap_and_the_others_keep_theirs(methods):
    path = methods / "run1" / "metrics.json"
    path.write_text(path.read_text().replace("10000.0", "null"))
    assert "null" in path.read_text()
    gaps = summary(read_settings(methods))["gap"].tolist()
    assert gaps[:2] == pytest.approx([2500, 30000])
    assert math.isnan(gaps[2])


@pytest.mark.filterwarnings("error")
def test_infinite_errors_have_no_interval_and_no_probability(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, float("inf")])
    _, online = read_settings(tmp_path)
    assert f"{online.estimates['model error']:.2g}" == "inf [–, –]"
    assert online.comparisons["model error"].better != online.comparisons["model error"].better
    assert online.comparisons["success"].gained == 1


@pytest.mark.filterwarnings("error")
def test_the_ratio_to_an_infinite_error_is_empty(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, float("inf")], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5])
    _, online = read_settings(tmp_path)
    assert f"{online.comparisons['model error'].ratio:.2g}" == "–"


def test_the_summary_is_ordered_by_values_and_has_no_column_that_differs_between_equal_runs(grid):
    table = summary(read_settings(grid))
    assert table["env.action_max"].tolist() == [0.1] * 3 + [0.25] * 3
    assert table["planner.horizon"].tolist() == [25, 50, 150] * 2
    assert set(table["seeds"]) == {"0 1"}
    assert not [name for name in table if "seconds" in name or "planning" in name]
    assert timings(read_settings(grid))["run"].tolist() == [10.5] * 6
