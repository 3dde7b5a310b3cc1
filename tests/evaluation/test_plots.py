import os

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from gapclose.envs.simulator import Tasks
from gapclose.evaluation import plots
from gapclose.evaluation.plots import (
    animate,
    draw_plans,
    plot_budgets,
    plot_epochs,
    plot_error_along_horizon,
    plot_plans,
)
from gapclose.planning.execution import Execution


def execution_of(n=3, steps=4, executed=None, error=0.1):
    """Tasks that walk to the right by 0.2 a step, and arrive."""
    start = torch.tensor([[0.3, 0.0]]) + torch.tensor([[0.0, 0.3]]) * torch.arange(n)[:, None]
    states = start.unsqueeze(1) + torch.tensor([0.2, 0.0]) * torch.arange(steps + 1)[:, None]
    imagined = states + error * torch.arange(steps + 1)[:, None]
    executed = torch.ones(n, steps, dtype=torch.bool) if executed is None else executed
    tasks, actions = Tasks(start, states[:, -1].clone()), torch.zeros(n, steps, 2)
    return Execution(tasks, actions, states, imagined, executed, imagined[:, -1], 1.0, 100)


def picture(path):
    """The pixels of a PNG, checked to be complete and not blank."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 1
    return pixels


@pytest.fixture(autouse=True)
def every_figure_is_closed():
    yield
    left_open = plt.get_fignums()
    plt.close("all")
    assert left_open == []


def test_plans_are_drawn_with_a_panel_for_each_entry(tmp_path, wall):
    one = plot_plans({"baseline": execution_of()}, wall, tmp_path / "one.png")
    two = plot_plans({"baseline": execution_of(), "finetuned": execution_of(n=9)}, wall, tmp_path / "two.png")
    assert picture(two).shape[1] > 1.5 * picture(one).shape[1]  # Not twice: the legend is wider than one panel.
    assert sorted(os.listdir(tmp_path)) == ["one.png", "two.png"]


def test_figures_are_drawn_where_a_simulator_has_them(wall, monkeypatch):
    """Figures of goals and of imagined and executed ends, for fewer tasks than where there are only paths."""
    execution = execution_of(n=8)
    figure, (plain, figured) = plt.subplots(1, 2)
    draw_plans(plain, execution, wall, "a")
    bar = torch.tensor([[[0.0, 0.0], [0.3, 0.0]]])
    monkeypatch.setattr(wall, "figure", lambda state: state[..., None, None, :] + bar, raising=False)
    draw_plans(figured, execution, wall, "a")
    plt.close(figure)
    segments = [[part for lines in axes.collections[1:] for part in lines.get_segments()] for axes in (plain, figured)]
    assert len(segments[0]) == 0
    expected = [
        end[task]
        for task in range(2)
        for end in (execution.tasks.goal, execution.imagined[:, -1], execution.states[:, -1])
    ]
    np.testing.assert_allclose([part[0] for part in segments[1]], torch.stack(expected), atol=1e-6)
    assert len(figured.lines) < len(plain.lines)


def test_a_drawing_shows_imagined_and_executed_paths_and_how_many_goals_were_reached(wall):
    execution = execution_of(n=8)
    execution.tasks.goal[:3] += 1.0
    figure, axes = plt.subplots()
    draw_plans(axes, execution, wall, "baseline")
    assert axes.get_title() == "baseline\n5 of 8 goals reached"
    paths = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 5]
    dashed = [line.get_xydata() for line in axes.lines if line.get_linestyle() == "--"]
    assert len(paths) == 2 * len(dashed) == 2 * 6  # as many as there are colours
    np.testing.assert_allclose(dashed[0], execution.imagined[0])
    assert any(np.allclose(path, execution.states[1]) for path in paths)
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low < -2
        assert high > 2
    plt.close(figure)


def test_the_error_is_drawn_along_the_horizon_also_where_tasks_have_arrived(tmp_path):
    executed = torch.tensor([[True, True, True, False], [True, False, False, False]])
    executions = {"baseline": execution_of(), "finetuned": execution_of(n=2, executed=executed)}
    path = plot_error_along_horizon(executions, 1e-5, tmp_path / "error.png")
    picture(path)
    assert os.listdir(tmp_path) == ["error.png"]


@pytest.mark.parametrize("epochs", [1, 5])
def test_success_and_error_are_drawn_by_epoch(tmp_path, epochs):
    def entry(x):
        return {"success_rate": x, "world_model_error": 1 - 0.9 * x, "goal_distance": 1 - x}

    history = [{"epoch": i, **entry(i / 5)} for i in range(epochs)]
    held_out = [{"epoch": 0, **entry(0.0)}, {"epoch": epochs, **entry(1.0)}]
    picture(plot_epochs(history, held_out, tmp_path / "epochs.png"))
    assert os.listdir(tmp_path) == ["epochs.png"]


def drawn_epochs(monkeypatch, *arguments):
    """The styles of the curves of success and of error, by label."""
    drawn = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.update(figure=figure))
    plot_epochs(*arguments, None)
    panels = [{line.get_label(): line for line in axes.lines} for axes in drawn["figure"].axes]
    plt.close(drawn["figure"])
    return panels


def test_the_held_out_tasks_have_a_curve_where_they_were_planned_each_epoch(monkeypatch):
    history = [{"epoch": i, "success_rate": 0.1 * i, "world_model_error": 1.0} for i in range(2)]
    held_out = [{"epoch": i, "success_rate": 0.2 * i, "world_model_error": 2.0 + i} for i in range(4)]
    success, error = drawn_epochs(monkeypatch, history, held_out)
    np.testing.assert_allclose(success["new training tasks"].get_xydata(), [[0, 0], [1, 0.1]])
    np.testing.assert_allclose(success["held-out tasks"].get_xydata(), [[0, 0], [1, 0.2], [2, 0.4], [3, 0.6]])
    np.testing.assert_allclose(error["held-out tasks"].get_ydata(), [2, 3, 4, 5])
    assert success["held-out tasks"].get_linestyle() != "None"


def test_epochs_are_drawn_from_either_kind_of_tasks_alone(monkeypatch):
    entries = [{"epoch": i, "success_rate": 0.5, "world_model_error": 1.0} for i in (0, 3)]
    assert [set(panel) for panel in drawn_epochs(monkeypatch, [], entries)] == 2 * [{"held-out tasks"}]
    assert [set(panel) for panel in drawn_epochs(monkeypatch, entries, [])] == 2 * [{"new training tasks"}]
    success, _ = drawn_epochs(monkeypatch, entries, entries)
    assert success["held-out tasks"].get_linestyle() == "None", "what lies between the ends was not measured"


def compared(points=4):
    budget = {"seconds": [0.1 * 2**i for i in range(points)], "success_rate": [0.9 * i / points for i in range(points)]}
    return {"open_loop": {"success_rate": 0.9, "success_rate_ci95": [0.7, 0.97], "budget": budget}}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("names", [["gradient"], ["gradient", "cem"], [f"planner {i}" for i in range(12)]], ids=len)
@pytest.mark.parametrize("points", [1, 4])
def test_success_is_drawn_by_seconds_for_any_number_of_planners(tmp_path, names, points):
    picture(plot_budgets({name: compared(points) for name in names}, tmp_path / "budgets.png"))
    assert os.listdir(tmp_path) == ["budgets.png"]


def test_every_planner_has_its_curve_on_a_logarithmic_axis(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.update(figure=figure))
    plot_budgets({"gradient": compared(), "cem": compared(2)}, tmp_path / "budgets.png")
    (axes,) = drawn["figure"].axes
    curves = {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}
    plt.close(drawn["figure"])
    assert {name: len(curve) for name, curve in curves.items()} == {"gradient": 4, "cem": 2}
    np.testing.assert_allclose(curves["gradient"][:2], [[0.1, 0.0], [0.2, 0.225]])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 3, 2), (12, 3, 3)])
def test_the_animation_has_a_frame_for_each_state_and_a_tile_for_each_task(tmp_path, wall, n, columns, rows):
    execution = execution_of(n=n)
    with Image.open(animate(execution, wall, tmp_path / "plans.gif")) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 5
        assert gif.size == (columns * 100, rows * 100)
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            gif.load()
            durations.append(gif.info["duration"])
            pixels = np.asarray(gif.convert("RGB")).astype(int)
            blue = np.abs(pixels[:100, :100] - (31, 119, 180)).sum(-1) < 30
            x = (np.nonzero(blue)[1].mean() - 2 + 0.5) / 96 * 4 - 2
            assert x == pytest.approx(execution.states[0, frame, 0].item(), abs=0.05)
    assert durations == [100, 100, 100, 100, 1500]
    assert os.listdir(tmp_path) == ["plans.gif"]


def test_frames_without_movement_have_the_same_duration_as_others(tmp_path, wall):
    execution = execution_of(n=1, steps=6)
    execution.states[:, 3:] = execution.states[:, 3:4]
    with Image.open(animate(execution, wall, tmp_path / "plans.gif")) as gif:
        total = 0
        for frame in range(gif.n_frames):
            gif.seek(frame)
            total += gif.info["duration"]
    assert total == 6 * 100 + 1500


@pytest.mark.parametrize("plot", ["png", "gif"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, wall, monkeypatch, plot):
    path = tmp_path / f"plans.{plot}"
    path.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    draw = {"gif": animate, "png": lambda execution, *rest: plot_plans({"baseline": execution}, *rest)}[plot]
    with pytest.raises(KeyboardInterrupt):
        draw(execution_of(), wall, path)
    assert path.read_text() == "old"
