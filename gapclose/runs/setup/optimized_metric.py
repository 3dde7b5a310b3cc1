"""The number in metrics.json that a search of a sweep optimises: `optimized_metric`."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gapclose.errors import UserError


def optimized_value(folder: Path, metric: str | None) -> float | None:
    """The number in a run's metrics.json that a search goes by.

    Args:
        folder: of the run.
        metric: its path, such as `finetuned/open_loop/world_model_error`; none for none.
    """
    path = folder / "metrics.json"
    if metric is None or not path.exists():  # Only the first process of a distributed run writes it.
        return None
    value: Any = json.loads(path.read_text())
    for name in metric.split("/"):
        value = value[name]
    return value


def check_metric(metric: str | None, possible: list[str]) -> None:
    """Refuses to optimise what metrics.json will not have.

    Args:
        metric: its path.
        possible: those of all its numbers.

    Raises:
        UserError: it is not among them.
    """
    if metric is not None and metric not in possible:
        meant = " or ".join(get_close_matches(metric, possible, cutoff=0.0))
        raise UserError(f"optimized_metric is {metric}, which will not be measured; give {meant}.")
