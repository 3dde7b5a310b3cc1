"""Workspace and report ask for nothing that a run does not log."""

import pytest

from gapclose.dashboards.__main__ import specification
from gapclose.dashboards.pages import report, workspace
from gapclose.dashboards.panels import SWEPT, parts


def panels_of(specification):
    """All panels in a specification."""
    if isinstance(specification, dict):
        if "viewType" in specification:
            return [specification]
        specification = list(specification.values())
    if not isinstance(specification, list):
        return []
    return [panel for part in specification for panel in panels_of(part)]


@pytest.fixture(params=[workspace, report])
def panels(request):
    return panels_of(specification(request.param("team", "project")))


def kinds(panels, kind):
    return [panel["config"] for panel in panels if panel["viewType"] == kind]


def test_every_curve_is_logged_over_its_axis(panels, recorded):
    curves = kinds(panels, "Run History Line Plot")
    assert len(curves) >= 8
    for config in curves:
        for name in config["metrics"]:
            assert recorded.run.curve(name, config["xAxis"]), name


def test_every_bar_and_point_is_in_the_summary_and_groups_by_a_choice(panels, recorded):
    bars = kinds(panels, "Bar Chart")
    assert {config["groupBy"] for config in bars} == {"choices.value.finetune", "choices.value.planner"}
    (scatter,) = kinds(panels, "Scatter Plot")
    names = [name for config in bars for name in config["metrics"]]
    names += [scatter[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis")]
    for name in names:
        assert isinstance(recorded.run.summary[name], int | float), name
    assert {"finetune", "planner"} <= recorded.run.config["choices"].keys()


def test_parallel_coordinates_go_from_swept_keys_to_success_and_error(panels, recorded):
    (parallel,) = kinds(panels, "Parallel Coordinates Plot")
    columns = [column["accessor"].split(":", 1) for column in parallel["columns"]]
    swept = [name.split(".") for section, name in columns if section == "config"]
    assert len(swept) == len(SWEPT)
    for first, value, *rest in swept:
        assert value == "value"
        content = recorded.run.config[first]
        for key in rest:
            content = content[key]
    found = [name for section, name in columns if section == "summary"]
    assert found == ["finetuned/open_loop/success_rate", "finetuned/open_loop/world_model_error"]
    assert set(found) <= recorded.run.summary.keys()


def test_pictures_and_videos_are_logged(panels, recorded):
    keys = [key for config in kinds(panels, "Media Browser") for key in config["mediaKeys"]]
    assert {"plans/baseline", "plans/finetuned", "pictures/plans"} == set(keys)
    assert set(keys) <= recorded.run.media().keys()


def test_the_table_of_runs_sorts_by_success(recorded):
    runs = specification(workspace("team", "project"))["spec"]["section"]["runSets"][0]["runFeed"]
    pinned = {name.removeprefix("summary:") for name in runs["columnPinned"] if name.startswith("summary:")}
    assert "finetuned/open_loop/success_rate" in pinned
    assert pinned <= recorded.run.summary.keys()


def test_other_keys_can_be_swept():
    made = panels_of(specification(workspace("team", "project", ["model.hidden_dim"])))
    (parallel,) = kinds(made, "Parallel Coordinates Plot")
    assert parallel["columns"][0]["accessor"] == "config:model.value.hidden_dim"
    assert len(parallel["columns"]) == 3


def test_the_report_has_a_text_for_every_part_and_no_panel_covers_another():
    made = report("team", "project")
    titles = [block.text for block in made.blocks if type(block).__name__ == "H2"]
    texts = [block.text for block in made.blocks if type(block).__name__ == "MarkdownBlock"]
    assert titles == [part.title for part in parts()]
    assert texts == [part.text for part in parts()]
    for grid in (block for block in made.blocks if type(block).__name__ == "PanelGrid"):
        places = [(panel.layout.x, panel.layout.y) for panel in grid.panels]
        assert len(set(places)) == len(places)
        assert all(panel.layout.x + panel.layout.w <= 24 for panel in grid.panels)
