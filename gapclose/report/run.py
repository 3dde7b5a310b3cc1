"""The report of a run, made from what the run left in its folder, and from nothing else."""

import json
import shlex
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gapclose.errors import UserError
from gapclose.evaluation.tables import CAPTION, COLUMNS, published_rows, results_rows
from gapclose.report.figures import (
    cost_section,
    error_section,
    horizon_section,
    learning_section,
    training_section,
)
from gapclose.report.headline import headline, story
from gapclose.report.page import PAGE, write_page
from gapclose.report.player import player
from gapclose.report.record import MAPS, MODELS, PLANS, read_arrays, read_plans

Content = TypeVar("Content", DictConfig, ListConfig)


def write_run_report(folder: Path) -> Path:
    """Writes `report.html` of a finished run of train.py. Sections stand where there is data for them.

    Raises:
        UserError: what the run left is damaged, or not of train.py.
    """
    metrics, config = read_metrics(folder / "metrics.json"), read_yaml(folder / "config.yaml", DictConfig)
    told = tell(metrics, folder / "metrics.json")
    world, plans = read_plans(folder / PLANS) or (None, None)
    maps = read_arrays(folder / MAPS)
    sections = [learning_section(metrics, OmegaConf.select(config, "finetune.epochs")), training_section(folder)]
    if world:
        sections = [error_section(maps, world), cost_section(maps), horizon_section(plans, metrics), *sections]
    return write_page(
        folder / PAGE,
        "run.html",
        list(filter(None, sections)),
        player(world, plans, OmegaConf.select(config, "mpc.replan_every")) if world else None,
        **told,
        columns=COLUMNS,
        caption=CAPTION,
        command=command(folder),
        settings=OmegaConf.to_yaml(config),
    )


def read_metrics(path: Path) -> dict[str, Any]:
    """The metrics of a run of train.py.

    Raises:
        UserError: they are damaged, or not of train.py.
    """
    try:
        metrics = json.loads(path.read_text())
        if any(name in metrics for name in MODELS) and "finetune" in metrics:
            return metrics
        raise UserError(f"{path} is not of train.py; give the folder of a run of train.py, or of a sweep.")
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}); delete the run's folder and run it again."
        ) from error


def tell(metrics: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the page says in words and in its table.

    Raises:
        UserError: the metrics lack what it needs.
    """
    try:
        gaps = {name: metrics[name] for name in MODELS if name in metrics}
        rows = results_rows(gaps) + published_rows(metrics.get("published", {}))
        return {"title": headline(metrics), "story": story(metrics), "facts": facts(metrics), "rows": rows}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} lacks what train.py writes ({type(error).__name__}: {error}); delete the run's folder and run it "
            "again."
        ) from error


def read_yaml(path: Path, kind: type[Content]) -> Content:
    """A file of settings, which is to be of this kind; empty if there is none.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = OmegaConf.load(path) if path.exists() else kind([] if kind is ListConfig else {})
        if not isinstance(content, kind):
            raise ValueError(f"it is no {kind.__name__}")
        return content
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}); delete it to have the report without it."
        ) from error


def facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """What was run, by which versions, and how long it took."""
    names = ("env", "data", "model", "finetune", "seed")
    found = [(name, str(metrics[name])) for name in names if name in metrics]
    if "wall_clock_seconds" in metrics:
        found.append(("took", f"{metrics['wall_clock_seconds']:,.0f} s"))
    if metrics.get("commit"):
        found.append(("commit", metrics["commit"]))
    versions = metrics.get("versions", {})
    if versions:
        found.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return found


def command(folder: Path) -> str | None:
    """The command that makes the run again; none where Hydra left no trace of it, or only that it was resumed."""
    given = folder / ".hydra" / "overrides.yaml"
    overrides = [str(override) for override in read_yaml(given, ListConfig)]
    if not given.exists() or any(override.startswith("resume=") for override in overrides):
        return None
    return shlex.join(["python", "train.py", *overrides])
