from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image

from gapclose.sweeps import plots as sweep_plots
from gapclose.sweeps.plots import draw_sweep, plot_methods
from tests.sweeps.conftest import leave_run, read_settings


@pytest.fixture
def drawn(monkeypatch):
    """The saved figures, by file name."""
    kept = {}
    monkeypatch.setattr(sweep_plots, "save", lambda figure, path: kept.update({path.name: figure}) or path)
    return kept


def test_a_method_has_the_same_line_in_all_conditions(tmp_path, drawn):
    leave_run(tmp_path, ["finetune=continue", "model=mlp"], 0, [1, 0], [1.0, 1.0], "continue")
    leave_run(tmp_path, ["finetune=online", "model=mlp"], 0, [1, 1], [0.5, 0.5])
    leave_run(tmp_path, ["finetune=online", "model=ensemble"], 0, [1, 1], [0.25, 0.25])
    plot_methods(read_settings(tmp_path), tmp_path / "methods.png")
    panels = drawn["methods.png"].axes
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["online", "continue"]
    heights = [sorted(round(y) for line in axes.containers for y in line[0].get_ydata()) for axes in panels]
    assert heights == [[2, 2], [1, 1, 2, 2], [2], [1, 2]]  # ensemble, mlp


@pytest.mark.parametrize("diverged", [1e30, float("inf")])
def test_a_diverged_model_has_an_arrow_and_does_not_change_the_scale(tmp_path, drawn, diverged):
    leave_run(tmp_path, ["finetune=continue"], 0, [1, 0], [diverged, 1.0], "continue")
    for mode, error in (("online", 0.5), ("adversarial", 2.0)):
        leave_run(tmp_path, [f"finetune={mode}"], 0, [1, 1], [error, error], mode)
    plot_methods(read_settings(tmp_path), tmp_path / "methods.png")
    success, error = drawn["methods.png"].axes
    (arrow,) = [line for line in error.lines if line.get_marker() == ">"]
    names = [tick.get_text() for tick in success.get_yticklabels()]
    assert [names[list(success.get_yticks()).index(place)] for place in arrow.get_ydata()] == ["continue"]
    assert list(arrow.get_xdata()) == [1]
    assert error.get_xlim()[1] < 10


def test_heat_maps_show_the_mean_of_each_pair_of_values(grid, tmp_path, drawn):
    assert list(draw_sweep(read_settings(grid), tmp_path)) == ["Main effects", "action_max against horizon"]
    success, error = drawn["heatmap_action_max_horizon.png"].axes[:2]
    assert [tick.get_text() for tick in success.get_xticklabels()] == ["25", "50", "150"]
    assert [tick.get_text() for tick in success.get_yticklabels()] == ["0.1", "0.25"]
    assert [text.get_text() for text in success.texts] == ["0.75", "0.50", "0.25"] * 2
    np.testing.assert_allclose(error.images[0].get_array(), 3.0 * np.outer([0.1, 0.25], [25, 50, 150]))
    assert error.images[0].norm.vmin == pytest.approx(7.5)


def test_main_effects_have_room_for_names_of_planners_and_a_scale_without_diverged_errors(tmp_path, drawn):
    settings = "planner.num_samples=200 planner.num_elites=20 planner.iterations=10 init=policy"
    for planner, error in ((f"cem {settings}", 0.5), (f"mppi {settings}", 1e30), (f"icem {settings}", 0.2)):
        leave_run(tmp_path, [f"planner={planner}"], 0, [1, 0], [error, error])
    draw_sweep(read_settings(tmp_path), tmp_path)
    figure = drawn["main_effects.png"]
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[1].get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
    (arrow,) = [line for line in figure.axes[1].lines if line.get_marker() == "^"]
    assert list(arrow.get_xdata()) == [2]
    assert figure.axes[1].get_ylim()[1] < 10


def test_main_effects_are_drawn_side_by_side(grid, tmp_path, drawn):
    draw_sweep(read_settings(grid), tmp_path)
    panels = drawn["main_effects.png"].axes
    assert [axes.get_xlabel() for axes in panels] == ["", "", "action_max", "horizon"]


def test_pictures_are_drawn_only_of_keys_that_vary(tmp_path):
    leave_run(tmp_path, ["model=mlp", "planner.horizon=10"], 0, [1, 0], [0.1, 0.1])
    assert draw_sweep(read_settings(tmp_path), tmp_path) == {}
    leave_run(tmp_path, ["model=ensemble", "planner.horizon=20"], 0, [1, 0], [0.1, 0.1])
    assert draw_sweep(read_settings(tmp_path), tmp_path) == {}
    leave_run(tmp_path, ["model=ensemble", "planner.horizon=10"], 0, [1, 0], [0.1, 0.1])
    assert list(draw_sweep(read_settings(tmp_path), tmp_path)) == ["Main effects"]
    leave_run(tmp_path, ["model=mlp", "planner.horizon=20"], 0, [1, 0], [0.1, 0.1])
    assert list(draw_sweep(read_settings(tmp_path), tmp_path)) == ["Main effects", "model against horizon"]


def test_pictures_of_keys_that_no_longer_vary_are_removed_and_others_are_kept(grid, tmp_path):
    for name in ("heatmap_lr_model.png", "page_heatmap_lr_model.png", "mine.png"):
        (tmp_path / name).touch()
    draw_sweep(read_settings(grid), tmp_path)
    kept = {"heatmap_action_max_horizon.png", "main_effects.png", "page_heatmap_lr_model.png", "mine.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == kept
    draw_sweep(read_settings(grid)[:1], tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"page_heatmap_lr_model.png", "mine.png"}


@pytest.mark.filterwarnings("error:constrained_layout")
@pytest.mark.parametrize(
    ("error", "other"),
    [
        *((error, error) for error in (0.0, 0.1, float("inf"), float("nan"), 5e-324)),
        *((1e-300, error) for error in (1e100, float("inf"))),
    ],
)
def test_pictures_are_drawn_whatever_the_errors_are(tmp_path, error, other):
    for model, model_error in (("mlp", error), ("ensemble", other)):
        for horizon in (10, 20):
            leave_run(tmp_path, [f"model={model}", f"planner.horizon={horizon}"], 0, [1, 0], [model_error] * 2)
    for picture in draw_sweep(read_settings(tmp_path), tmp_path).values():
        assert picture.stat().st_size > 1000


@pytest.mark.parametrize("letters", ["x" * 100_000, "line\n" * 10_000])
def test_long_names_are_shortened_and_keep_values_apart(tmp_path, letters):
    for value in (1, 2):
        for horizon in (10, 20):
            run = leave_run(tmp_path, ["model=mlp", f"planner.horizon={horizon}"], 0, [1, 0], [0.1, 0.1])
            config = yaml.safe_load((run / "config.yaml").read_text())
            config["choices"]["model"] = f"{letters}{value}"
            (run / "config.yaml").write_text(yaml.safe_dump(config))
    pictures = draw_sweep(read_settings(tmp_path), tmp_path)
    assert list(pictures) == ["Main effects", "model against horizon"]
    for picture in pictures.values():
        assert max(Image.open(picture).size) < 4000


def test_no_picture_is_drawn_of_a_key_with_very_many_values(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_plots, "MOST_LEVELS", 2)
    for model in ("mlp", "ensemble"):
        for horizon in (10, 20, 30):
            leave_run(tmp_path, [f"model={model}", f"planner.horizon={horizon}"], 0, [1, 0], [0.1, 0.1])
    assert list(draw_sweep(read_settings(tmp_path), tmp_path)) == ["Main effects"]
