"""What a finished run hands to its logger."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from gapclose.envs.simulator import Simulator
from gapclose.planning.execution import Execution


class Files(NamedTuple):
    """The files that a run's models come from and go to.

    Attributes:
        data: the trajectories.
        baseline: the checkpoint that finetuning starts from.
        baseline_given: whether the configuration names that file, by `base_checkpoint`.
        finetuned: the checkpoint that it ends with; none without finetuning.
    """

    data: Path
    baseline: Path
    baseline_given: bool
    finetuned: Path | None


class Results(NamedTuple):
    """What a run has found.

    Attributes:
        metrics: as in metrics.json.
        gaps: the part of them that `measure_gap` returned, by model.
        rows: of the table that is printed.
        outcomes: of each task, as in tasks.csv.
        executions: by model and way to execute.
        epochs: of finetuning; 0 without.
        pictures: files.
        files: of models and data.
        simulator: draws the plans.
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
    """A logger that shows results in its own way, and is told how the run ends; Lightning's loggers do neither."""

    def log_results(self, results: Results) -> None:
        """Sends the results of a run."""

    def finish(self, exit_code: int) -> None:
        """Ends the record of a run."""
