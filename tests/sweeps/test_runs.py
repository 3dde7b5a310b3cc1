import json
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gapclose.errors import UserError
from gapclose.sweeps.runs import canonical, order, read_runs
from gapclose.sweeps.varied_settings import varied_keys, without_repeats
from tests.sweeps.conftest import leave_run

OUTCOMES = ([1, 0], [0.5, 0.5])


def run_of(folder, *overrides, seed=0, **settings):
    return leave_run(folder, list(overrides), seed, *OUTCOMES, **settings)


def test_runs_are_found_at_any_depth_but_not_inside_runs(tmp_path):
    for place in ("", "a", "a/b"):
        run_of(tmp_path / "sweep" / place)
    shutil.copytree(tmp_path / "sweep" / "run0", tmp_path / "sweep" / "run0" / "wandb" / "copy")
    runs, missing = read_runs(tmp_path / "sweep")
    assert [run.folder for run in runs] == ["a/b/run0", "a/run0", "run0"]
    assert missing == []


def test_a_default_equals_the_same_value_on_a_command_line(tmp_path):
    run_of(tmp_path, defaults=["planner.horizon=50", "objective=goal"])
    run_of(tmp_path, "planner.horizon=50", "objective=goal", seed=1)
    run_of(tmp_path, "++planner.horizon=25", defaults=["objective=goal"])
    runs, _ = read_runs(tmp_path)
    assert varied_keys(runs) == ["planner.horizon"]
    assert [run.value("planner.horizon") for run in runs] == [50, 50, 25]


def test_ignored_settings_are_not_varied_keys(tmp_path):
    for seed in (0, 1):
        ignored = [f"data_dir=data{seed}", f"num_threads={1 + seed}", f"evaluation.models=[finetuned,{seed}]"]
        run_of(tmp_path, *ignored, f"logger.project=p{seed}", f"sweep=s{seed}", seed=seed)
    assert varied_keys(read_runs(tmp_path)[0]) == []


def test_runs_on_other_tasks_are_another_setting(tmp_path):
    run_of(tmp_path, defaults=["evaluation.seed=0"])
    run_of(tmp_path, defaults=["evaluation.seed=3"])
    assert varied_keys(read_runs(tmp_path)[0]) == ["evaluation.seed"]


def test_runs_with_equal_command_lines_are_distinguished_by_their_configs(tmp_path):
    run_of(tmp_path, "sweep=a", defaults=["planner.iterations=10"])
    run_of(tmp_path, "sweep=b", defaults=["planner.iterations=20", "planner.new=1"])
    runs, _ = read_runs(tmp_path)
    assert varied_keys(runs) == ["planner.iterations"]
    assert without_repeats(runs, ["planner.iterations"]) == (runs, [])


def test_a_run_that_repeats_another_is_left_out_and_named(tmp_path):
    run_of(tmp_path, "model=mlp")
    run_of(tmp_path, "model=mlp")
    runs, _ = read_runs(tmp_path)
    (kept,), (repeated,) = without_repeats(runs, varied_keys(runs))
    assert kept.folder == "run0"
    assert (repeated.folder, repeated.reason) == ("run1", "it repeats run0")


def test_a_resumed_run_has_the_options_of_its_own_config(tmp_path):
    objective = {"terms": {"goal": {"weight": 1.0}}}
    for seed in (0, 1, 2):
        run = run_of(tmp_path, "model=mlp", "objective=goal", seed=seed)
        config = yaml.safe_load((run / "config.yaml").read_text())
        del config["choices"]["objective"]
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"objective": objective}))
        choices = {"objective": "goal" if seed < 2 else "uncertainty_aware", "model": "mlp" if seed < 2 else "ensemble"}
        (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": choices}}}))
    (run / ".hydra" / "overrides.yaml").write_text(f"- resume={run}\n")
    runs, _ = read_runs(tmp_path)
    assert [run.value("objective") for run in runs] == ["goal"] * 3
    assert [run.value("model") for run in runs] == ["mlp"] * 3
    assert varied_keys(runs) == []


def state_of(folder, name="run0"):
    _, missing = read_runs(folder)
    return next((run.state, run.reason) for run in missing if run.folder == name)


def test_a_failed_run_is_reported_with_the_first_line_of_its_error_and_one_without_metrics_as_unfinished(tmp_path):
    for _ in range(3):
        run_of(tmp_path)
    for number in (0, 1):
        (tmp_path / f"run{number}" / "metrics.json").unlink()
    (tmp_path / "run0" / "error.txt").write_text("planner.horizon is 0.\nTraceback\n")
    (tmp_path / "run2" / "error.txt").write_text("An older failure.\n")
    runs, missing = read_runs(tmp_path)
    assert [run.folder for run in runs] == ["run2"]
    assert missing == [("run0", "failed", "planner.horizon is 0."), ("run1", "unfinished", "")]


@pytest.mark.parametrize("content", ["{", "", "\x00", '{"finetune": "online"}', '{"finetune": "online", "seed": "x"}'])
def test_a_run_with_damaged_metrics_is_reported_and_the_others_are_read(tmp_path, content):
    run_of(tmp_path)
    run_of(tmp_path, seed=1)
    (tmp_path / "run0" / "metrics.json").write_text(content)
    runs, missing = read_runs(tmp_path)
    assert [run.folder for run in runs] == ["run1"]
    assert missing[0].folder == "run0"
    assert missing[0].state in ("damaged", "left out")
    assert "metrics.json" in missing[0].reason or "not evaluated" in missing[0].reason


@given(st.data())
def test_metrics_cut_off_anywhere_never_stop_the_summary(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    path = run_of(folder) / "metrics.json"
    text = path.read_text()
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    assert state_of(folder)[0] == "damaged"


@given(st.data())
def test_outcomes_cut_off_anywhere_never_stop_the_summary(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    run = run_of(folder)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["finetuned"]["open_loop"]["num_tasks"] = 2
    metrics["finetuned"]["mpc"] = {"num_tasks": 2}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = (run / "tasks.csv").read_text()
    (run / "tasks.csv").write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    assert state_of(folder)[0] == "damaged"


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b""])
def test_a_run_with_another_kind_of_outcomes_is_damaged(tmp_path, content):
    (run_of(tmp_path) / "tasks.csv").write_bytes(content)
    state, reason = state_of(tmp_path)
    assert state == "damaged"
    assert "tasks.csv" in reason
    assert str(tmp_path) not in reason


@pytest.mark.parametrize("content", ["- finetune=onl", "- [", "", "{", "just words", "- 1\n- null\n"])
def test_values_are_read_from_the_config_if_the_command_line_is_damaged(tmp_path, content):
    for seed, horizon in enumerate((25, 50)):
        run = run_of(tmp_path, f"planner.horizon={horizon}", seed=seed)
    (run / ".hydra" / "overrides.yaml").write_text(content)
    runs, missing = read_runs(tmp_path)
    assert missing == []
    assert [run.value("planner.horizon") for run in runs] == [25, 50]


FILES = ("config.yaml", "metrics.json", "tasks.csv", "error.txt", ".hydra/overrides.yaml", ".hydra/hydra.yaml")


@given(st.sampled_from(FILES), st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode), st.just(b"5")))
def test_the_other_runs_are_read_whatever_a_file_of_one_contains(tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("odd")
    for seed in (0, 1):
        run_of(folder, "planner.horizon=25", seed=seed)
    (folder / "run0" / name).write_bytes(content)
    runs, missing = read_runs(folder)
    assert "run1" in [run.folder for run in runs]
    assert len(runs) + len(missing) == 2
    varied_keys(runs)


def test_runs_of_other_commands_are_left_out(tmp_path):
    (run_of(tmp_path) / "metrics.json").write_text('{"env": "wall", "checkpoint": "a.ckpt"}')
    assert state_of(tmp_path) == ("left out", "it is not a run of train.py")


def test_a_run_that_has_not_evaluated_its_model_is_left_out(tmp_path):
    run_of(tmp_path, models=["baseline"])
    state, reason = state_of(tmp_path)
    assert state == "left out"
    assert "evaluation.models" in reason


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        read_runs(tmp_path / "none")
    with pytest.raises(UserError, match="There is no run below"):
        read_runs(tmp_path)


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.booleans(), st.none())))
def test_values_of_all_kinds_are_ordered_with_numbers_first(values):
    ordered = sorted((canonical(value) for value in values), key=order)
    numbers = [value for value in ordered if not isinstance(value, str)]
    assert ordered[: len(numbers)] == sorted(numbers)


def test_numbers_that_no_table_can_hold_are_text():
    values = [canonical(value) for value in (float("nan"), float("inf"), 10**30, True, 2**62)]
    assert values == ["nan", "inf", "1" + "0" * 30, "true", 2**62]


def test_long_values_stay_different():
    values = [canonical("x" * 10_000 + end) for end in "ab"]
    assert len(set(values)) == 2
    assert all(len(value) < 1100 for value in values)


def test_a_run_cannot_make_a_table_of_very_many_columns(tmp_path):
    for seed in (0, 1):
        run = run_of(tmp_path, "planner.horizon=25", seed=seed)
    (run / "config.yaml").unlink()
    (run / ".hydra" / "overrides.yaml").write_text("".join(f"- key{number}=1\n" for number in range(20_000)))
    assert len(varied_keys(read_runs(tmp_path)[0])) == 100


def test_rounding_errors_do_not_make_another_value():
    assert canonical(0.1 + 0.2) == canonical(0.3) == 0.3
    assert canonical(True) == "true"
    assert canonical([1, "a"]) == '[1, "a"]'


def test_where_planners_are_compared_each_is_one_value_of_the_key_planner(tmp_path):
    own, other = ["init.noise=0.2", "planner.num_starts=8"], ["planner.iterations=10", "init=zeros"]
    for seed, mode in ((0, "online"), (0, "continue")):
        run = run_of(tmp_path, f"finetune={mode}", "planner.horizon=25", *own, seed=seed, finetune=mode)
        beside = run_of(run / "compare", f"finetune={mode}", "planner=cem", *other, seed=seed, finetune=mode)
        shutil.move(beside, run / "compare" / "cem")
        for name, planner in ((run, "multistart"), (run / "compare" / "cem", "cem planner.iterations=10 init=zeros")):
            config = yaml.safe_load((name / "config.yaml").read_text())
            config["choices"] |= {"planner": planner}
            config["planner"] = config.get("planner", {}) | {"horizon": 25, "lr": 0.1 * len(planner)}
            (name / "config.yaml").write_text(yaml.safe_dump(config))
    runs, missing = read_runs(tmp_path)
    assert missing == []
    assert varied_keys(runs) == ["finetune", "planner"]
    assert sorted({run.value("planner") for run in runs}) == [
        "cem init=zeros planner.iterations=10",
        "multistart init.noise=0.2 planner.num_starts=8",
    ]
    assert without_repeats(runs, varied_keys(runs)) == (runs, [])
