"""The report of a run, made from what the run left in its folder, and from nothing else."""

import json
import shlex
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.evaluation.report import CAPTION, COLUMNS, published_rows, results_rows
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


def write_run_report(folder: Path) -> Path:
    """Writes `report.html` of a finished run of train.py. Sections stand where there is data for them.

    Raises:
        UserError: what the run left is damaged, or not of train.py.
    """
    metrics = read_metrics(folder / "metrics.json")
    config = OmegaConf.load(folder / "config.yaml") if (folder / "config.yaml").exists() else OmegaConf.create()
    gaps = {name: metrics[name] for name in MODELS if name in metrics}
    rows = results_rows(gaps) + published_rows(metrics.get("published", {}))
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
        title=headline(metrics),
        story=story(metrics),
        facts=facts(metrics),
        columns=COLUMNS,
        rows=rows,
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


def facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """What was run, by which versions, and how long it took."""
    names = ("env", "data", "model", "finetune", "seed")
    found = [(name, str(metrics[name])) for name in names if name in metrics]
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
    overrides = list(OmegaConf.load(given)) if given.exists() else None
    if overrides is None or any(override.startswith("resume=") for override in overrides):
        return None
    return shlex.join(["python", "train.py", *overrides])
