"""The setting `optimized_metric`: the number in metrics.json that a search optimises."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gapclose.errors import UserError


def optimized_value(folder: Path, metric: str | None) -> float | None:
    """Returns the number in a run's metrics.json that a search optimises.

    Args:
        folder: folder of the run.
        metric: path of the number, such as `finetuned/open_loop/world_model_error`; `None` if nothing is optimised.
    """
    path = folder / "metrics.json"
    if metric is None or not path.exists():  # Only the first process of a distributed run writes it.
        return None
    value: Any = json.loads(path.read_text())
    for name in metric.split("/"):
        value = value[name]
    return value


def check_metric(metric: str | None, possible: list[str]) -> None:
    """Checks that metrics.json will contain the number to optimise.

    Args:
        metric: path of the number; `None` if nothing is optimised.
        possible: paths of all numbers that metrics.json will contain.

    Raises:
        UserError: the path is not among them.
    """
    if metric is not None and metric not in possible:
        similar = " or ".join(get_close_matches(metric, possible, cutoff=0.0))
        raise UserError(f"optimized_metric is {metric}, which will not be measured; give {similar}.")
