"""The report of a run, made only from the files in its folder. Its charts are in `gapclose.report.figures`."""

from pathlib import Path
from typing import Any, TypeVar

import yaml

from gapclose.command_lines import train_command
from gapclose.errors import UserError
from gapclose.evaluation.metrics_file import MODELS, check_metrics
from gapclose.evaluation.tables import (
    CAPTION,
    COLUMNS,
    ERROR_CAPTION,
    ERROR_COLUMNS,
    error_rows,
    published_rows,
    results_rows,
)
from gapclose.files import finite, is_there
from gapclose.report.figures import run_sections
from gapclose.report.headline import headline, story
from gapclose.report.page import PAGE, write_page
from gapclose.report.player import player_data
from gapclose.report.record import MAPS, PLANS, read_maps, read_plans
from gapclose.stored import read_json, read_yaml

Content = TypeVar("Content", dict, list)


def write_run_report(folder: Path, metrics: dict[str, Any] | None = None) -> Path:
    """Writes `report.html` of a run of train.py; sections without data are left out.

    Args:
        folder: folder of the run.
        metrics: content of metrics.json, if the run has not written the file yet.

    Raises:
        UserError: the files of the run are damaged, or not from train.py.
    """
    metrics = read_metrics(folder / "metrics.json") if metrics is None else finite(metrics)
    config = read_content(folder / "config.yaml", dict)
    text = page_text(metrics, folder / "metrics.json")
    world, plans = read_plans(folder / PLANS) or (None, None)
    return write_page(
        folder / PAGE,
        "run.html",
        run_sections(folder, metrics, number_in(config, "finetune", "epochs"), world, plans, read_maps(folder / MAPS)),
        player_data(world, plans, number_in(config, "mpc", "replan_every")) if world else None,
        **text,
        columns=COLUMNS,
        caption=CAPTION,
        error_columns=ERROR_COLUMNS,
        error_caption=ERROR_CAPTION,
        command=command(folder),
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    )


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads the metrics of a run of train.py.

    Raises:
        UserError: they are damaged, or not from train.py.
    """
    try:
        metrics = read_json(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); delete the run's folder and run it again.") from error
    if not isinstance(metrics, dict) or not any(name in metrics for name in MODELS) or "finetune" not in metrics:
        raise UserError(f"{path} is not from train.py; give the folder of a run of train.py, or of a sweep.")
    try:
        check_metrics(metrics)
    except ValueError as error:
        raise UserError(
            f"{path} is not as train.py writes it ({error}); delete the run's folder and run it again."
        ) from error
    return finite(metrics)


def page_text(metrics: dict[str, Any], path: Path) -> dict[str, Any]:
    """Makes the texts of the page and the rows of its table.

    Raises:
        UserError: the metrics are incomplete.
    """
    try:
        gaps = {name: metrics[name] for name in MODELS if name in metrics}
        rows = results_rows(gaps) + published_rows(metrics.get("published", {}))
        text = {"title": headline(metrics), "story": story(metrics), "facts": facts(metrics)}
        spread = any("world_model_error_median" in gap["open_loop"] for gap in gaps.values())  # Earlier runs lack it.
        return {**text, "rows": rows, "errors": error_rows(gaps) if spread else []}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is incomplete ({type(error).__name__}: {error}); delete the run's folder and run it again."
        ) from error


def read_content(path: Path, kind: type[Content]) -> Content:
    """Reads a YAML file of the given kind; empty if there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = read_yaml(path) if is_there(path) else kind()
        if not isinstance(content, kind):
            raise ValueError(f"it is not a {kind.__name__}")
        return content
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); delete it to have the report without it.") from error


def number_in(config: dict[str, Any], group: str, key: str) -> int | None:
    """An integer setting of a group; none if the configuration lacks it, or has something else there."""
    settings = config.get(group)
    value = settings.get(key) if isinstance(settings, dict) else None
    return value if type(value) is int else None


def facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Lists what was run, with which versions, and how long it took."""
    names = ("env", "data", "model", "finetune", "seed")
    entries = [(name, str(metrics[name])) for name in names if name in metrics]
    if "wall_clock_seconds" in metrics:
        entries.append(("took", f"{metrics['wall_clock_seconds']:,.0f} s"))
    if metrics.get("commit"):
        entries.append(("commit", metrics["commit"]))
    versions = metrics.get("versions", {})
    if versions:
        entries.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return entries


def command(folder: Path) -> str | None:
    """The command that repeats the run; none if Hydra's record is missing or only says that the run was resumed."""
    given = folder / ".hydra" / "overrides.yaml"
    overrides = [str(override) for override in read_content(given, list)]
    if not given.exists() or any(override.startswith("resume=") for override in overrides):
        return None
    return train_command(*overrides)
