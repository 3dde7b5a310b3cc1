"""Chooses the report for a folder: that of a run or that of a sweep."""

from pathlib import Path

from gapclose.command_lines import quoted_override, train_command
from gapclose.errors import UserError
from gapclose.files import is_there
from gapclose.report.run import write_run_report
from gapclose.report.sweep import write_sweep_report


def write_report(folder: Path) -> Path:
    """Writes `report.html` of the finished run in a folder, or of the sweep whose runs lie below it.

    Raises:
        UserError: there is neither, or its files are damaged.
    """
    if not folder.is_dir():
        missing = f"{folder} is a file" if folder.exists() else f"There is no folder {folder}"
        raise UserError(f"{missing}; give the folder of a run of train.py, or of a sweep.")
    if is_there(folder / "metrics.json"):
        return write_run_report(folder)
    if is_there(folder / "config.yaml"):
        raise UserError(
            f"The run in {folder} is not finished; go on with it by: {train_command(quoted_override('resume', folder))}"
        )
    return write_sweep_report(folder)
