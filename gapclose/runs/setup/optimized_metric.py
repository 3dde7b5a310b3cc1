"""The setting `optimized_metric`: the number in metrics.json that a search optimises."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gapclose.errors import UserError
from gapclose.stored import read_json


def optimized_value(folder: Path, metric: str | None) -> float | None:
    """Returns the number in a run's metrics.json that a search optimises.

    Args:
        folder: folder of the run.
        metric: path of the number, such as `finetuned/open_loop/world_model_error`; `None` if nothing is optimised.

    Raises:
        UserError: the file is damaged, or has no such number.
    """
    path = folder / "metrics.json"
    if metric is None or not path.exists():  # Only the first process of a distributed run writes it.
        return None
    from gapclose.evaluation.metrics_file import check_metrics  # Only here, as --help imports this module, too.

    try:
        value: Any = read_json(path)
        check_metrics(value)
        for name in metric.split("/"):
            value = value[name]
        if not isinstance(value, float | int | None):
            raise ValueError(f"{metric} is {value!r:.60}")
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not contain optimized_metric={metric} as train.py writes it ({type(error).__name__}: "
            f"{error}); delete the run's folder and run it again."
        ) from error
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
