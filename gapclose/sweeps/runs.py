"""Reads the runs of a sweep; those that cannot be used become `Missing`.

The settings in which runs differ are found in `gapclose.sweeps.varied_settings`.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from gapclose.errors import UserError
from gapclose.evaluation.metrics_file import check_metrics, ways_of
from gapclose.evaluation.outcomes import read_outcomes
from gapclose.files import is_there, read_text, walk
from gapclose.overrides import key_and_value
from gapclose.printable import shortened
from gapclose.progress import track
from gapclose.stored import parse_yaml, read_json, read_yaml

SEPARATE_KEYS = ("planner", "planner.horizon")
"""Planner settings that remain keys of their own where a planner is described by all its settings."""
EVALUATED_MODELS = {"none": ("baseline", "oracle")}
"""The models of a run that have a row in the results, by its `finetune`; for all others it is the finetuned model."""
MOST_OPTIONS = 1000
"""How many overrides, and how many options of groups, are read of a run; a command line has tens."""
LONGEST = 1000
"""How many letters of a text value, and of the reason why a run has no results, are kept."""
Value = int | float | str
Content = TypeVar("Content", dict, list)


class Run(NamedTuple):
    """A finished run of train.py.

    Attributes:
        folder: path of the run's folder, relative to the sweep's folder.
        named: values that its command line sets, by config key or group.
        config: content of its config.yaml.
        choices: the chosen option of each group.
        metrics: its metrics.json.
        outcomes: its tasks.csv, by model and way to execute: a table with a row for each task.
    """

    folder: str
    named: dict[str, str]
    config: dict[str, Any]
    choices: dict[str, Any]
    metrics: dict[str, Any]
    outcomes: dict[tuple[str, str], pd.DataFrame]

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.metrics["seed"]

    @property
    def evaluated_models(self) -> list[str]:
        """The models that have a row in the results and were evaluated."""
        return [name for name in EVALUATED_MODELS.get(self.metrics["finetune"], ("finetuned",)) if name in self.metrics]

    def value(self, key: str) -> Value:
        """The value of a config key or group; empty if the run does not have it.

        It is read from the run's own config, so that a default equals the same value given on a command line.
        """
        if key in self.choices:
            return canonical(self.choices[key])
        if not self.config and key in self.named:
            return canonical(parse_value(self.named[key]))
        return canonical(select(self.config, key, ""))


class Missing(NamedTuple):
    """A run without results, and why.

    Attributes:
        folder: path of the run's folder, relative to the sweep's folder.
        state: `failed`, `unfinished`, `damaged`, `unreadable`, `left out`.
        reason: a short explanation, if there is one.
    """

    folder: str
    state: str
    reason: str = ""


def canonical(value: Any) -> Value:
    """Converts a value so that runs can be grouped by it: a number rounded to ten digits, or text.

    Other numbers, such as NaN, are text, too. The end of a long text is replaced by a checksum.
    """
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.10g}")
    if type(value) is int and abs(value) < 2**63:
        return value
    plain = isinstance(value, bool | list | dict) or value is None
    text = json.dumps(value, default=str) if plain else str(value)
    checksum = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return text if len(text) <= LONGEST else f"{shortened(text, LONGEST)} ({checksum[:8]})"


def parse_value(text: str) -> Any:
    """The value that an override gives, read as YAML, or the text itself if it is none."""
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def order(value: Value) -> tuple[int, float, str]:
    """A sort key for values: numbers by size, then text by alphabet."""
    return (0, value, "") if isinstance(value, int | float) else (1, 0.0, value)


def run_folders(folder: Path) -> tuple[list[Path], list[Missing]]:
    """Finds the folders of finished and unfinished runs below a folder, and those that cannot be searched, in order.

    A run may have other runs below it: one for each planner in `compare` that its models were evaluated with.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    found, missing = [], []

    def failed(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise error
        missing.append(unreadable(Path(error.filename).relative_to(folder).as_posix(), error))

    for here, below, files in walk(folder, failed):
        if ".hydra" in below or {"metrics.json", "config.yaml", "error.txt"} & set(files):
            below[:] = [name for name in below if name == "compare"]
            found.append(here)
    return found, missing


def read_runs(folder: Path) -> tuple[list[Run], list[Missing]]:
    """Reads the runs below a folder: the finished runs of train.py, and the others.

    Raises:
        UserError: the folder does not exist, or has no run in it.
        OSError: it cannot be listed.
    """
    if not folder.is_dir():
        missing = f"{folder} is a file" if folder.exists() else f"There is no folder {folder}"
        raise UserError(f"{missing}; give the folder of a sweep, such as multirun/wall.")
    runs: list[Run] = []
    folders, missing = run_folders(folder)
    for path in track(folders, "Reading runs", "run"):
        run = read_run(path, path.relative_to(folder).as_posix())
        (runs if isinstance(run, Run) else missing).append(run)
    if not runs and not missing:
        raise UserError(f"There is no run below {folder}; give the folder of a sweep, such as multirun/wall.")
    runs = fill_in_options(runs)
    if compares_planners(runs):
        for run in runs:
            run.choices["planner"] = described_planner(run)
    return runs, missing


def read_run(path: Path, name: str) -> Run | Missing:
    """Reads one run, or says why it has no results."""
    try:
        if not is_there(path / "metrics.json"):
            if (path / "error.txt").exists():
                return Missing(name, "failed", first_line(path / "error.txt"))
            return Missing(name, "unfinished")
        metrics = read_json(path / "metrics.json")
        named, config = command_line_values(path), content_or_empty(path / "config.yaml", dict)
        # A run resumed by resume=DIR has the options of the resuming command in .hydra, not its own.
        hydra = {} if "resume" in named else content_or_empty(path / ".hydra" / "hydra.yaml", dict)
    except OSError as error:
        return unreadable(name, error)
    except ValueError as error:
        return damaged(name, path, f"metrics.json cannot be read ({error})")
    if not isinstance(metrics, dict) or "finetune" not in metrics:
        return Missing(name, "left out", "it is not a run of train.py")
    try:
        check_metrics(metrics)
    except ValueError as error:
        return damaged(name, path, f"metrics.json is not as train.py writes it ({error})")
    choices = options(hydra, "hydra.runtime.choices") | options(config, "choices")
    try:
        table = read_outcomes(path / "tasks.csv").set_index("task").sort_index()
        outcomes = dict(iter(table.groupby(["model", "way"])))
        run = Run(name, named, config, choices | {"finetune": metrics["finetune"]}, metrics, outcomes)
        check(run)
    except OSError as error:
        return unreadable(name, error)
    except UserError as error:
        return damaged(name, path, str(error))
    if not run.evaluated_models:
        return Missing(name, "left out", "its model was not evaluated; see its evaluation.models")
    return run


def damaged(name: str, path: Path, reason: str) -> Missing:
    """Returns the entry of a run whose files are damaged; the reason names files relative to its folder."""
    return Missing(name, "damaged", shortened(reason.partition(";")[0].replace(f"{path}/", ""), LONGEST))


def unreadable(name: str, error: OSError) -> Missing:
    """Returns the entry of a run with a file that cannot be opened, such as for want of permission."""
    return Missing(name, "unreadable", f"{Path(error.filename or '').name}: {error.strerror}")


def check(run: Run) -> None:
    """Checks that the outcomes of a run are those of all tasks in its metrics.

    Raises:
        UserError: an outcome is missing.
    """
    for model in run.evaluated_models:
        for way, result in ways_of(run.metrics[model]).items():
            num_rows = len(run.outcomes.get((model, way), ()))
            if num_rows == 0 or num_rows != result.get("num_tasks", num_rows):
                raise UserError(f"tasks.csv has {num_rows} of {result.get('num_tasks', 'all')} tasks ({model}, {way})")


def first_line(path: Path) -> str:
    """Returns the first line of a text file, or its beginning; empty if the file is not a text.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return next(iter(shortened(read_text(path, errors="replace"), LONGEST).splitlines()), "").strip()
    except ValueError:
        return ""


def content_or_empty(path: Path, kind: type[Content]) -> Content:
    """Reads a YAML file; empty if it is damaged, missing or of another kind.

    Raises:
        OSError: it cannot be read.
    """
    try:
        content = read_yaml(path)
    except (FileNotFoundError, ValueError):
        return kind()
    return content if isinstance(content, kind) else kind()


def command_line_values(path: Path) -> dict[str, str]:
    """The values that the command line of a run sets, by config key or group."""
    overrides = content_or_empty(path / ".hydra" / "overrides.yaml", list)
    parts = [key_and_value(override) for override in overrides if isinstance(override, str) and "=" in override]
    return {name: value for name, value in parts[:MOST_OPTIONS] if name}


def select(config: Any, key: str, default: Any) -> Any:
    """Looks up a dotted key in a nested config; the default if there is none."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return default
        config = config[part]
    return config


def options(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The chosen options of groups under a key of a config."""
    chosen = select(config, key, {})
    return dict(list(chosen.items())[:MOST_OPTIONS]) if isinstance(chosen, dict) else {}


def fill_in_options(runs: list[Run]) -> list[Run]:
    """Fills in missing options of groups with those of another run that has the same config in the group."""
    groups = {group for run in runs for group in run.choices}
    for run in runs:
        for group in groups - set(run.choices) if run.config else ():
            equal = (
                other.choices[group]
                for other in runs
                if group in other.choices and other.config.get(group) == run.config.get(group)
            )
            option = next(equal, None)
            if option is not None:
                run.choices[group] = option
    return runs


def compares_planners(runs: Sequence[Run]) -> bool:
    """Whether models were also evaluated with other planners than the run's own (`compare` of train.py)."""
    return any("compare" in run.folder.split("/")[:-1] for run in runs)


def described_planner(run: Run) -> str:
    """Describes the planner of a run like an entry of `compare`: its name and what the command line sets for it."""
    settings = sorted(f"{key}={value}" for key, value in run.named.items() if describes_planner(key))
    return " ".join([str(run.choices.get("planner", "")).partition(" ")[0], *settings]).strip()


def describes_planner(key: str) -> bool:
    """Whether a setting is part of the description of a planner."""
    return key.partition(".")[0] in ("planner", "init") and key not in SEPARATE_KEYS
