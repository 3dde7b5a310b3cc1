"""The outcome of each task (tasks.csv), stored so that models and runs can be compared task by task.

The means over tasks are in metrics.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gapclose.csv_files import read_csv, write_csv
from gapclose.errors import UserError
from gapclose.files import read_text

if TYPE_CHECKING:  # Reading results needs no PyTorch, whose import takes seconds.
    from gapclose.envs.simulator import Simulator
    from gapclose.planning.execution import Execution

NUMBERS = ["task", "success", "goal_distance", "world_model_error"]
COLUMNS = ["model", "way", *NUMBERS]
LARGEST = 1e100
"""Finite numbers of runs are smaller, even where they are squares, and so their sums and products are finite, too."""


def outcomes(executions: Mapping[str, Mapping[str, Execution]], simulator: Simulator) -> pd.DataFrame:
    """Tabulates outcomes, with one row for each model, way to execute, and task.

    Args:
        executions: by model and way.
        simulator: measures distances and success.

    Returns:
        A table with the columns `COLUMNS`; `world_model_error` is the mean over the task's executed steps, and empty
        where none was executed.
    """
    tables = []
    for model, ways in executions.items():
        for way, execution in ways.items():
            goal, final = execution.tasks.goal, execution.states[:, -1]
            columns = {
                "success": simulator.success(final, goal).int(),
                "goal_distance": simulator.distance(final, goal),
                "world_model_error": execution.plan_errors(),
            }
            table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
            tables.append(table.assign(model=model, way=way, task=table.index))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def write_outcomes(path: Path, table: pd.DataFrame) -> None:
    """Writes the table as CSV, atomically."""
    write_csv(path, table)


def read_outcomes(path: Path) -> pd.DataFrame:
    """Reads a table that `write_outcomes` wrote.

    Raises:
        UserError: the file is missing, another one, or damaged.
        OSError: it cannot be opened.
    """
    try:
        text = read_text(path)
        table = read_csv(text)
    except UserError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"The file {path} cannot be read ({error}); delete the run's folder and run it again."
        ) from error
    if not text.endswith("\n"):
        raise UserError(
            f"The file {path} is cut off in the middle of a line; delete the run's folder and run it again."
        )
    if list(table.columns) != COLUMNS:
        raise UserError(
            f"The file {path} has the columns {', '.join(table.columns):.200}; expected {', '.join(COLUMNS)}."
        )
    try:
        numbers = table[NUMBERS].apply(pd.to_numeric, errors="coerce").astype(float)
    except OverflowError as error:
        raise UserError(
            f"The file {path} has a number of too many digits; delete the run's folder and run it again."
        ) from error
    for problem, rows in problems(table, numbers).items():
        if rows.any():
            raise UserError(
                f"The file {path} has {problem} in line {int(rows.to_numpy().argmax()) + 2}; delete the run's folder "
                "and run it again."
            )
    return table.assign(**numbers).astype({"task": int, "success": int})


def problems(table: pd.DataFrame, numbers: pd.DataFrame) -> dict[str, pd.Series]:
    """What may be wrong with the rows of a table of outcomes, and the rows in which it is.

    Args:
        table: as it was read.
        numbers: its columns `NUMBERS`, with NaN where there is text.
    """
    return {
        "text instead of a number": (numbers.isna() & table[NUMBERS].notna()).any(axis=1),
        "a success other than 0 and 1": ~numbers.success.isin((0, 1)),
        "a task that is not a whole number": ~numbers.task.between(0, 2**31) | (numbers.task % 1 != 0),
        "a negative error": numbers.world_model_error < 0,
        "a number that is too large": (np.isfinite(numbers) & (numbers.abs() > LARGEST)).any(axis=1),
        "no model or way": table.model.isna() | table.way.isna(),
        "a task for the second time": table.duplicated(["model", "way", "task"]),
    }
