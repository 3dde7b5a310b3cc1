import math

import pytest

from gapclose.sweeps.results import has_control, read_results, summary, timings
from tests.sweeps.conftest import found_in, leave_run


def test_runs_that_differ_in_the_seed_alone_are_one_setting(methods):
    settings = found_in(methods)
    assert [setting.scene for setting in settings] == [{"model": "ensemble"}, {"model": "mlp"}, {"model": "mlp"}]
    assert [setting.method["finetune"] for setting in settings] == ["online", "continue", "online"]
    assert all(setting.seeds == [0, 1] for setting in settings)
    assert [setting.estimates["success"].mean for setting in settings] == [1.0, 0.25, 0.75]
    assert settings[2].estimates["model error"].mean == pytest.approx(0.1)
    assert settings[2].seconds["run"] == 10.5
    assert settings[2].counts["simulator_steps"] == 3000


def test_a_setting_is_compared_with_the_control_of_its_own_scene(methods):
    other, control, online = found_in(methods)
    assert control.against == other.against == {}
    assert (control.reference, other.reference, online.reference) == ("", "", "control")
    assert online.against["success"].difference.mean == pytest.approx(0.5)
    assert (online.against["success"].gained, online.against["success"].lost) == (2, 0)
    error = online.against["model error"]
    assert error.difference.mean == pytest.approx(-0.2)
    assert error.difference.high < 0
    assert error.ratio.mean == pytest.approx(1 / 3)
    assert error.ratio.high < 1
    assert error.better > 0.99


def test_it_is_compared_on_the_seeds_that_both_have(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online"], 1, [0, 0], [0.1, 0.1])
    _, online = found_in(tmp_path)
    assert online.estimates["model error"].mean == pytest.approx(0.3)
    assert online.against["model error"].ratio.mean == pytest.approx(0.5)
    assert online.against["success"].difference.mean == pytest.approx(0.5)
    assert (online.against["success"].seeds, online.against["success"].tasks) == (1, 2)


def test_of_several_controls_the_likest_counts(tmp_path):
    for baseline, success in (("teacher_forcing", [0, 0]), ("multi_step", [1, 0])):
        leave_run(tmp_path, [f"baseline={baseline}"], 0, success, [1.0, 1.0], "continue")
        leave_run(tmp_path, [f"baseline={baseline}"], 0, [1, 1], [1.0, 1.0], "online")
    gains = {one.method["baseline"]: one.against["success"].gained for one in found_in(tmp_path) if one.against}
    assert gains == {"multi_step": 1, "teacher_forcing": 2}


def leave_methods(folder, control, online, oracle):
    """A run of each, and of control and online one with another seed that finds the same."""
    for seed in (0, 1):
        leave_run(folder, ["finetune=continue"], seed, control, [1.0] * len(control), "continue")
        leave_run(folder, ["finetune=online"], seed, online, [1.0] * len(online))
    leave_run(folder, ["finetune=none"], 0, oracle, [0.0] * len(oracle), "none", models=["oracle"])


def test_how_much_of_the_way_to_the_oracle_is_gone(tmp_path):
    control, online, oracle = [0] * 20 + [1] * 20, [1] * 12 + [0] * 8 + [1] * 20, [1] * 36 + [0] * 4
    leave_methods(tmp_path, control, online, oracle)
    found = {setting.method["finetune"]: setting for setting in found_in(tmp_path)}
    for measure in ("success", "MPC success"):
        share = found["online"].closed[measure]
        assert share.mean == pytest.approx(12 / 16)
        assert 0.4 < share.low < 0.75 < share.high
    assert found["continue"].closed == found["oracle"].closed == {}
    (row,) = [row for row in summary(list(found.values())).to_dict("records") if row["finetune"] == "online"]
    assert row["MPC success closed"] == pytest.approx(0.75)


def test_there_is_no_way_to_an_oracle_that_is_hardly_better_than_the_control(tmp_path):
    leave_methods(tmp_path, [0] + [1] * 19, [1] * 20, [1] * 20)
    assert all(setting.closed == {} for setting in found_in(tmp_path))


def test_an_oracle_with_another_planner_is_no_measure(tmp_path):
    for mode, success in (("continue", [0] * 10), ("online", [1] * 10)):
        leave_run(tmp_path, [f"finetune={mode}", "planner=gradient"], 0, success, [1.0] * 10, mode)
    oracle = ["finetune=none", "planner=cem"]
    leave_run(tmp_path, oracle, 0, [1] * 10, [0.0] * 10, "none", models=["oracle"])
    assert all(setting.closed == {} for setting in found_in(tmp_path))


def test_a_plain_sweep_is_compared_with_its_own_baselines(tmp_path):
    both = ["finetuned", "baseline"]
    run = leave_run(tmp_path, ["model=mlp"], 0, [1, 1], [0.1, 0.1], models=both)
    text = (run / "tasks.csv").read_text()
    (run / "tasks.csv").write_text(text.replace("baseline,open_loop,0,1,", "baseline,open_loop,0,0,"))
    leave_run(tmp_path, ["model=ensemble"], 0, [1, 1], [0.1, 0.1])
    ensemble, mlp = found_in(tmp_path)
    assert not has_control([ensemble, mlp])
    assert (ensemble.reference, mlp.reference) == ("", "baseline")
    assert (mlp.against["success"].gained, mlp.against["MPC success"].gained) == (1, 0)


def test_baseline_and_oracle_of_equal_settings_may_be_of_two_runs(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline"])
    leave_run(tmp_path, ["finetune=none"], 0, [1, 1], [0.1, 0.1], "none", models=["oracle"])
    leave_run(tmp_path, ["finetune=none"], 0, [0, 0], [0.1, 0.1], "none", models=["oracle"])
    results = read_results(tmp_path)
    found = {one.method["finetune"]: one.estimates["success"].mean for one in results.settings}
    assert found == {"none": 0.5, "oracle": 1.0}
    assert [(one.folder, one.reason) for one in results.missing] == [("run2", "it repeats run1")]


def test_of_a_run_and_one_with_the_oracle_besides_the_latter_stays(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline"])
    leave_run(tmp_path, ["finetune=none"], 0, [1, 1], [0.1, 0.1], "none", models=["baseline", "oracle"])
    results = read_results(tmp_path)
    assert [one.method["finetune"] for one in results.settings] == ["none", "oracle"]
    assert [(one.folder, one.reason) for one in results.missing] == [("run0", "it repeats run1")]


def test_a_baseline_stands_for_runs_without_finetuning_and_the_oracle_beside_it(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline", "oracle"])
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.1, 0.1], models=["finetuned", "oracle"])
    found = {setting.method["finetune"]: setting.estimates["success"].mean for setting in found_in(tmp_path)}
    assert found == {"none": 0.5, "online": 1.0, "oracle": 0.5}


def test_a_single_setting_is_a_sweep_too(tmp_path):
    leave_run(tmp_path, ["finetune=online"], 0, [1, 0], [0.5, 0.5], ways=("open_loop",))
    (setting,) = found_in(tmp_path)
    assert "MPC success" not in setting.estimates
    assert setting.values == {"finetune": "online"}


def test_a_model_that_diverged_leaves_its_setting_without_a_gap_and_the_others_with_theirs(methods):
    path = methods / "run1" / "metrics.json"
    path.write_text(path.read_text().replace("10000.0", "null"))
    assert "null" in path.read_text()
    gaps = summary(found_in(methods))["gap"].tolist()
    assert gaps[:2] == pytest.approx([2500, 30000])
    assert math.isnan(gaps[2])


@pytest.mark.filterwarnings("error")
def test_infinite_errors_have_no_interval_and_no_probability(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, float("inf")])
    _, online = found_in(tmp_path)
    assert f"{online.estimates['model error']:.2g}" == "inf [–, –]"
    assert online.against["model error"].better != online.against["model error"].better
    assert online.against["success"].gained == 1


@pytest.mark.filterwarnings("error")
def test_to_an_infinite_error_there_is_no_ratio(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, float("inf")], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5])
    _, online = found_in(tmp_path)
    assert f"{online.against['model error'].ratio:.2g}" == "–"


def test_the_summary_has_rows_in_the_order_of_values_and_nothing_that_differs_between_equal_runs(grid):
    table = summary(found_in(grid))
    assert table["env.action_max"].tolist() == [0.1] * 3 + [0.25] * 3
    assert table["planner.horizon"].tolist() == [25, 50, 150] * 2
    assert set(table["seeds"]) == {"0 1"}
    assert not [name for name in table if "seconds" in name or "planning" in name]
    assert timings(found_in(grid))["run"].tolist() == [10.5] * 6
