"""The results that a finished run passes to its logger."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from gapclose.envs.simulator import Simulator
from gapclose.planning.execution import Execution


class Files(NamedTuple):
    """The files of a run's data and models.

    Attributes:
        data: file of trajectories.
        baseline: checkpoint from which finetuning starts.
        baseline_given: whether the configuration gives that file as `base_checkpoint`.
        finetuned: checkpoint after finetuning; none without finetuning.
    """

    data: Path
    baseline: Path
    baseline_given: bool
    finetuned: Path | None


class Results(NamedTuple):
    """The results of a run.

    Attributes:
        metrics: as in metrics.json.
        gaps: the metrics of `measure_gap`, by model.
        rows: of the printed table.
        outcomes: of each task, as in tasks.csv.
        executions: by model and way to execute.
        epochs: of finetuning; 0 without finetuning.
        pictures: files of pictures.
        files: files of models and data.
        simulator: for drawing the plans.
    """

    metrics: dict[str, Any]
    gaps: dict[str, dict[str, Any]]
    rows: list[list[str]]
    outcomes: pd.DataFrame
    executions: dict[str, dict[str, Execution]]
    epochs: int
    pictures: list[Path]
    files: Files
    simulator: Simulator


@runtime_checkable
class Recorder(Protocol):
    """A logger that shows results in its own way and learns how the run ends; Lightning's loggers do neither."""

    def log_results(self, results: Results) -> None:
        """Sends the results of a run."""

    def finish(self, exit_code: int) -> None:
        """Ends the record of a run."""
