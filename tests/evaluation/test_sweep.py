import json
import sys

import pandas as pd
import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.evaluation import sweep, sweep_page
from gapclose.evaluation.outcomes import COLUMNS, outcomes, read_outcomes, write_outcomes
from gapclose.evaluation.sweep_page import BEGIN, END, table_of, write_page
from gapclose.evaluation.sweep_results import read_runs, settings_of, summary
from gapclose.planning.execution import Execution


def leave_run(folder, overrides, seed, success, error, finetune="online", ways=("open_loop", "mpc"), oracle=False):
    """What train.py leaves of a run: with these successes and errors of each task."""
    run = folder / f"run{len(list(folder.glob('run*')))}"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text("\n".join(f"- {line}" for line in [*overrides, f"seed={seed}"]))
    models = ["baseline" if finetune == "none" else "finetuned", *(["oracle"] if oracle else [])]
    gap = {"expert_error": 1e-5, "open_loop": {"train_test_gap": 1e5 * sum(error) / len(error)}}
    metrics = {"seed": seed, "finetune": finetune, "wall_clock_seconds": 10.0 + seed, "simulator_steps": 3000}
    (run / "metrics.json").write_text(json.dumps({**metrics, **dict.fromkeys(models, gap)}))
    columns = {"success": success, "goal_distance": error, "world_model_error": error}
    table = pd.DataFrame(columns).assign(task=range(len(success)))
    tables = [table.assign(model=model, way=way) for model in models for way in ways]
    write_outcomes(run / "tasks.csv", pd.concat(tables)[COLUMNS])
    return run


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1):
        control = ["finetune=continue", "model=mlp", "data_dir=somewhere", "sweep=wall"]
        leave_run(tmp_path, control, seed, [1, 0, 0, 0], [0.4, 0.4, 0.2, 0.2], "continue")
        leave_run(tmp_path, ["finetune=online", "model=mlp"], seed, [1, 1, 1, 0], [0.1, 0.1, 0.1, 0.1])
        leave_run(tmp_path, ["finetune=online", "model=ensemble"], seed, [1, 1, 1, 1], [0.0, 0.0, 0.0, 0.1])
    return tmp_path


def test_outcomes_are_those_of_each_task(tmp_path):
    goal = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    states = torch.tensor([[[0.0, 0.0], [1.0, 0.1]], [[0.0, 0.0], [0.5, 0.0]]])
    imagined = states + torch.tensor([[0.0, 0.0], [0.2, 0.0]])
    executed = torch.tensor([[True], [False]])
    tasks = Tasks(states[:, 0], goal)
    execution = Execution(tasks, torch.zeros(2, 1, 2), states, imagined, executed, imagined[:, -1], 0.0, 0)
    table = outcomes({"baseline": {"mpc": execution}}, Wall())
    assert table["success"].tolist() == [1, 0]
    assert table["goal_distance"].tolist() == pytest.approx([0.1, 0.5])
    assert table["world_model_error"][0] == pytest.approx(0.02)
    assert pd.isna(table["world_model_error"][1])
    write_outcomes(tmp_path / "tasks.csv", table)
    pd.testing.assert_frame_equal(read_outcomes(tmp_path / "tasks.csv"), table, check_dtype=False)


def test_runs_that_differ_in_the_seed_alone_are_one_setting(folder):
    runs, unfinished = read_runs(folder)
    assert len(runs) == 6
    assert unfinished == 0
    settings = settings_of(runs)
    assert [setting.scene for setting in settings] == [{"model": "mlp"}, {"model": "mlp"}, {"model": "ensemble"}]
    assert [setting.method["finetune"] for setting in settings] == ["continue", "online", "online"]
    assert all(setting.seeds == [0, 1] for setting in settings)
    assert [setting.estimates["success"].mean for setting in settings] == [0.25, 0.75, 1.0]
    assert settings[1].estimates["model error"].mean == pytest.approx(0.1)
    assert settings[1].counts["seconds"] == 10.5
    assert settings[1].counts["simulator_steps"] == 3000


def test_a_setting_is_compared_with_the_control_of_its_own_scene(folder):
    control, online, other = settings_of(read_runs(folder)[0])
    assert control.against_control == {}
    assert other.against_control == {}
    assert online.against_control["success"].mean == pytest.approx(0.5)
    assert online.against_control["model error"].mean == pytest.approx(-0.2)
    assert online.against_control["model error"].high < 0
    assert online.against_control["model error ratio"].mean == pytest.approx(1 / 3)
    assert online.against_control["model error ratio"].high < 1


def test_it_is_compared_on_the_seeds_that_both_have(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online"], 1, [0, 0], [0.1, 0.1])
    _, online = settings_of(read_runs(tmp_path)[0])
    assert online.estimates["model error"].mean == pytest.approx(0.3)
    assert online.against_control["model error ratio"].mean == pytest.approx(0.5)
    assert online.against_control["success"].mean == pytest.approx(0.5)


def test_settings_inside_a_method_make_another_method_and_no_scene(tmp_path):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online", "sweep=wall"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online", "finetune.rollouts.tasks=failures"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=none", "objective.terms.disagreement.weight=300"], 0, [1, 1], [0.5, 0.5], "none")
    settings = settings_of(read_runs(tmp_path)[0])
    assert all(setting.scene == {} for setting in settings)
    assert all("success" in setting.against_control for setting in settings[1:])
    assert [row[1] for row in table_of(settings)[1]] == [
        "online", "online, rollouts tasks failures", "none, disagreement weight 300", "continue"
    ]  # fmt: skip


def test_the_true_dynamics_have_a_row(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.0, 0.0], "none", oracle=True)
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.5, 0.5], oracle=True)
    settings = settings_of(read_runs(tmp_path)[0])
    assert [row[1] for row in table_of(settings)[1]] == ["online", "none", "oracle"]
    write_page(tmp_path / "page.md", settings)


def test_a_method_has_one_line_in_the_picture_whatever_scenes_lack_it(tmp_path, monkeypatch):
    leave_run(tmp_path, ["finetune=continue", "model=mlp"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online", "model=mlp"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online", "model=ensemble"], 0, [1, 1], [0.25, 0.25])
    kept = []
    monkeypatch.setattr(sweep_page, "save", lambda figure, path: kept.append(figure) or path)
    sweep_page.plot_methods(settings_of(read_runs(tmp_path)[0]), tmp_path / "methods.png")
    panels = kept[0].axes
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["online", "continue"]
    heights = [sorted(round(y) for line in axes.containers for y in line[0].get_ydata()) for axes in panels]
    assert heights == [[2, 2], [1, 1, 2, 2], [2], [1, 2]]


def test_a_baseline_stands_for_runs_without_finetuning(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none")
    leave_run(tmp_path, ["finetune=online"], 0, [1, 1], [0.1, 0.1])
    none, online = settings_of(read_runs(tmp_path)[0])
    assert (none.estimates["success"].mean, online.estimates["success"].mean) == (0.5, 1.0)


def test_a_single_setting_is_a_sweep_too(tmp_path):
    leave_run(tmp_path, ["finetune=online"], 0, [1, 0], [0.5, 0.5], ways=("open_loop",))
    (setting,) = settings_of(read_runs(tmp_path)[0])
    assert "MPC success" not in setting.estimates
    assert table_of([setting])[1][0][:2] == ["all", "online"]


def test_the_command_prints_and_writes_and_leaves_the_rest_of_the_page_alone(folder, tmp_path, monkeypatch, capsys):
    page = tmp_path / "docs" / "wall.md"
    page.parent.mkdir()
    page.write_text(f"# Ours\n\nWords before.\n\n{BEGIN}\nold\n{END}\n\nWords after.\n")
    leave_run(folder, ["finetune=none", "model=mlp"], 5, [1, 1, 1, 1], [0.1] * 4, "none")
    (folder / "run6" / "metrics.json").unlink()
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["sweep", str(folder), "--page", str(page)])
        sweep.main()
        text = page.read_text()
        assert text.startswith("# Ours\n\nWords before.\n")
        assert text.endswith(f"{END}\n\nWords after.\n")
        assert "old" not in text
        assert text.count("| online | 2 | 0.75 [") == 1
        assert "6 runs, 1 unfinished" in capsys.readouterr().out
    assert page.with_suffix(".png").stat().st_size > 1000
    table = pd.read_csv(folder / "summary.csv")
    assert table["success minus control"].tolist()[1] == 0.5
    assert len(table) == len(summary(settings_of(read_runs(folder)[0])))


def test_an_empty_folder_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        sweep.main()
    assert capsys.readouterr().err == f"Error: There is no finished run below {tmp_path}; give the folder of a sweep.\n"


def test_a_page_without_a_place_for_results_is_refused(folder, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    with pytest.raises(UserError, match="has no place for results"):
        write_page(page, settings_of(read_runs(folder)[0]))
    assert page.read_text() == "# Mine\n"


def test_outcomes_that_are_damaged_are_refused(folder):
    path = folder / "run0" / "tasks.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has the columns a, b; expected model, way"):
        settings_of(read_runs(folder)[0])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_outcomes(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"seed": 0}', "null"])
def test_metrics_that_are_damaged_are_named(folder, content):
    path = folder / "run3" / "metrics.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"run3/metrics\.json is damaged, or not of train\.py"):
        read_runs(folder)


def test_a_model_that_diverged_leaves_a_gap_and_the_others_their_results(folder):
    path = folder / "run1" / "metrics.json"
    path.write_text(path.read_text().replace("10000.0", "null"))
    assert "null" in path.read_text()
    assert table_of(settings_of(read_runs(folder)[0]))[1]
