"""The workspace and the report of a project; both have the panels of `gapclose.dashboards.panels`."""

from collections.abc import Sequence

from wandb_workspaces.reports import v2 as reports
from wandb_workspaces.workspaces import Ordering, RunsetSettings, Section, Summary, Workspace, WorkspaceSettings

from gapclose.dashboards.panels import ERROR, SUCCESS, SWEPT, Part, parts

PINNED = [f"summary:finetuned/{name}" for name in (SUCCESS, "mpc/success_rate", ERROR)]
"""The first columns of the table of runs."""
INTRODUCTION = (
    "A world model with a small error on held-out data can fail when a planner uses it. Here is the gap between its "
    "error on held-out data and its error under planning, and the effect of finetuning. How each figure is measured: "
    "docs/dashboards.md of gapclose."
)
COLUMNS = 24
"""Columns of the grid of panels in a report."""


def workspace(entity: str, project: str, swept: Sequence[str] = SWEPT) -> Workspace:
    """Builds the workspace, with a section for each part; the most successful runs come first."""
    order = [Ordering(Summary(f"finetuned/{SUCCESS}"), ascending=False)]
    return Workspace(
        entity=entity,
        project=project,
        name="The train-test gap",
        sections=[Section(name=part.title, panels=part.panels, is_open=True) for part in parts(swept)],
        settings=WorkspaceSettings(max_runs=100),  # By default only ten are drawn, and a sweep has more.
        runset_settings=RunsetSettings(order=order, pinned_columns=PINNED),
    )


def report(entity: str, project: str, swept: Sequence[str] = SWEPT) -> reports.Report:
    """Builds the report: the parts with their texts, each over all runs of the project."""
    blocks = [reports.TableOfContents()]
    for part in parts(swept):
        # A set of runs without a project uses that of the report; with a project it would be looked up online.
        grid = reports.PanelGrid(runsets=[reports.Runset()], panels=arrange(part), hide_run_sets=True)
        blocks += [reports.H2(part.title), reports.MarkdownBlock(part.text), grid]
    return reports.Report(
        entity=entity, project=project, title="The train-test gap", description=INTRODUCTION, blocks=blocks
    )


def arrange(part: Part) -> list[reports.interface.Panel]:
    """Arranges the panels of a part two in a row; a single one takes the whole row."""
    width = COLUMNS // min(2, len(part.panels))
    for number, panel in enumerate(part.panels):
        panel.layout = reports.Layout(x=number % 2 * width, y=number // 2 * 10, w=width, h=10)
    return part.panels
