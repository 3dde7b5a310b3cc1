"""The runs of a sweep: found, read, and told apart by their settings; what cannot be read is named."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import yaml

from gapclose.errors import UserError
from gapclose.evaluation.outcomes import read_outcomes
from gapclose.overrides import NO_DIFFERENCE, is_among, key_and_value
from gapclose.progress import track

ASIDE = (*NO_DIFFERENCE, "compare", "seed", "resume", "evaluation.models", "evaluation.each_epoch", "evaluation.device")
"""What does not make a setting of its own."""
ALWAYS = ("finetune", "evaluation.seed", "evaluation.num_tasks")
"""What makes a setting of its own whether a command line names it or not: other tasks are no pairs."""
APART = ("planner", "planner.horizon")
"""Settings of planners that are keys of their own also where a planner is told by all that is set for it."""
JUDGED = {"none": ("baseline", "oracle")}
"""Which models of a run make a row of results, by its `finetune`; those of all others are finetuned."""
Value = int | float | str
Content = TypeVar("Content", dict, list)


class Run(NamedTuple):
    """A finished run of train.py.

    Attributes:
        folder: relative to the sweep's.
        named: values that its command line sets, by setting or group.
        config: its settings.
        choices: the options of its groups.
        metrics: its metrics.json.
        outcomes: its tasks.csv by model and way to execute, with a row for each task.
    """

    folder: str
    named: dict[str, str]
    config: dict[str, Any]
    choices: dict[str, Any]
    metrics: dict[str, Any]
    outcomes: dict[tuple[str, str], pd.DataFrame]

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.metrics["seed"]

    @property
    def judged(self) -> list[str]:
        """The models that make rows of results."""
        return [name for name in JUDGED.get(self.metrics["finetune"], ("finetuned",)) if name in self.metrics]

    def value(self, key: str) -> Value:
        """Of a setting or group; empty if the run has no such setting.

        Taken from what the run was really given, so that a default and the same value on a command line are one.
        """
        if key in self.choices:
            return canonical(self.choices[key])
        if not self.config and key in self.named:
            return canonical(yaml.safe_load(self.named[key]))
        return canonical(select(self.config, key, ""))


class Missing(NamedTuple):
    """A run that has no part in the results.

    Attributes:
        folder: relative to the sweep's.
        state: `failed`, `unfinished`, `damaged`, `left out`.
        reason: in a sentence, if there is one.
    """

    folder: str
    state: str
    reason: str = ""


def canonical(value: Any) -> Value:
    """A value by which runs can be grouped: a number as it is, less what rounding left in its last digits, or text."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return json.dumps(value)
    return value if isinstance(value, int) else str(value)


def order(value: Value) -> tuple[int, float, str]:
    """Sorts numbers as numbers, before words."""
    return (0, value, "") if isinstance(value, int | float) else (1, 0.0, value)


def run_folders(folder: Path) -> Iterator[Path]:
    """The folders of runs below a folder, finished or not, in order.

    Below a run are those that it has left for the other planners that its models were evaluated with.
    """
    for here, below, files in os.walk(folder):
        if ".hydra" in below or {"metrics.json", "config.yaml", "error.txt"} & set(files):
            below[:] = [name for name in below if name == "compare"]
            yield Path(here)
        below.sort()


def read_runs(folder: Path) -> tuple[list[Run], list[Missing]]:
    """The finished runs of train.py below a folder, and the other runs there.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        missing = f"{folder} is a file" if folder.exists() else f"There is no folder {folder}"
        raise UserError(f"{missing}; give the folder of a sweep, such as multirun/wall.")
    runs: list[Run] = []
    missing: list[Missing] = []
    for path in track(list(run_folders(folder)), "Reading runs", "run"):
        found = read_run(path, path.relative_to(folder).as_posix())
        (runs if isinstance(found, Run) else missing).append(found)
    if not runs and not missing:
        raise UserError(f"There is no run below {folder}; give the folder of a sweep, such as multirun/wall.")
    runs = complete(runs)
    if compares_planners(runs):
        for run in runs:
            run.choices["planner"] = described_planner(run)
    return runs, missing


def read_run(path: Path, name: str) -> Run | Missing:
    """One run, or why it has no part in the results."""
    if not (path / "metrics.json").exists():
        if (path / "error.txt").exists():
            return Missing(name, "failed", next(iter(read_text(path / "error.txt").splitlines()), "").strip())
        return Missing(name, "unfinished")
    try:
        metrics = json.loads((path / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        return Missing(name, "damaged", f"metrics.json cannot be read ({error})")
    if not isinstance(metrics, dict) or "finetune" not in metrics:
        return Missing(name, "left out", "it is no run of train.py")
    named, config = named_in(path), read_yaml(path / "config.yaml", dict)
    # A run that went on by resume=DIR has left the options of that command in .hydra, which are not its own.
    choices = (
        {} if "resume" in named else options(read_yaml(path / ".hydra" / "hydra.yaml", dict), "hydra.runtime.choices")
    )
    choices |= options(config, "choices")
    try:
        table = read_outcomes(path / "tasks.csv").set_index("task").sort_index()
        outcomes = dict(iter(table.groupby(["model", "way"])))
        run = Run(name, named, config, choices | {"finetune": metrics["finetune"]}, metrics, outcomes)
        check(run)
    except UserError as error:
        return Missing(name, "damaged", str(error).partition(";")[0].replace(f"{path}/", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Missing(
            name, "damaged", f"metrics.json or tasks.csv lacks what train.py writes ({type(error).__name__}: {error})"
        )
    if not run.judged:
        return Missing(name, "left out", "the model that it is judged by was not evaluated; see its evaluation.models")
    return run


def check(run: Run) -> None:
    """Refuses a run whose metrics or outcomes are not whole."""
    int(run.seed)
    for model in run.judged:
        for way, result in run.metrics[model].items():
            found = len(run.outcomes.get((model, way), ()))
            if isinstance(result, dict) and found != result.get("num_tasks", found):
                raise UserError(f"tasks.csv has {found} of {result['num_tasks']} tasks ({model}, {way})")
        if not run.outcomes[model, "open_loop"].success.isin((0, 1)).all():
            raise UserError(f"tasks.csv has other outcomes of {model} than 0 and 1")
        run.metrics[model]["expert_error"], run.metrics[model]["open_loop"]["train_test_gap"]


def read_text(path: Path) -> str:
    """The text of a file; what is no text in it is replaced."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_yaml(path: Path, kind: type[Content]) -> Content:
    """The content of a YAML file, which is to be of this kind; empty where it is damaged or missing."""
    try:
        content = yaml.load(read_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError):
        return kind()
    return content if isinstance(content, kind) else kind()


def named_in(path: Path) -> dict[str, str]:
    """What the command line of the run set, by setting or group."""
    overrides = read_yaml(path / ".hydra" / "overrides.yaml", list)
    parts = [key_and_value(override) for override in overrides if isinstance(override, str) and "=" in override]
    return {name: value for name, value in parts if name}


def select(config: Any, key: str, default: Any) -> Any:
    """A setting inside nested ones by its full name; the default if there is none."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return default
        config = config[part]
    return config


def options(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The options of groups that stand there in a configuration."""
    found = select(config, key, {})
    return dict(found) if isinstance(found, dict) else {}


def complete(runs: list[Run]) -> list[Run]:
    """Fills in the options of groups that a run does not tell: those of a run with the same settings in the group."""
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
    """Whether models were evaluated with other planners than the run's own, too: `compare` of train.py."""
    return any("compare" in run.folder.split("/")[:-1] for run in runs)


def described_planner(run: Run) -> str:
    """The planner of a run by its name and what the command line sets for it, as an entry of `compare` has it."""
    settings = sorted(f"{key}={value}" for key, value in run.named.items() if of_planner(key))
    return " ".join([str(run.choices.get("planner", "")).partition(" ")[0], *settings]).strip()


def of_planner(key: str) -> bool:
    """Whether a setting is told by the description of a planner."""
    return key.partition(".")[0] in ("planner", "init") and key not in APART


def varied_keys(runs: Sequence[Run]) -> list[str]:
    """The settings and groups in which the runs differ, as far as a command line names them.

    Where runs differ that agree in all of these, the seed and a model, something else does it: a file that a command
    line names, or another version. Such settings then count as well.
    """
    told = of_planner if compares_planners(runs) else lambda key: False
    named = {key for run in runs for key in run.named if not aside(key) and not told(key)} | set(ALWAYS)
    for group in repeats(runs, sorted(named)):
        flat = [flatten(run.config) for run in group]
        shared = {key for key in set.intersection(*map(set, flat)) if not aside(key) and not told(key)}
        named |= {key for key in shared if len({canonical(one[key]) for one in flat}) > 1}
    return sorted(key for key in named if len({run.value(key) for run in runs}) > 1)


def repeats(runs: Sequence[Run], keys: Sequence[str]) -> list[list[Run]]:
    """Runs that agree in these keys, the seed and a model that they are judged by, as far as there are several."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        for judged in run.judged:
            groups.setdefault((judged, run.seed, *(run.value(key) for key in keys)), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def aside(key: str) -> bool:
    """Whether a setting makes no difference to results."""
    return is_among(key, ASIDE) or key.startswith("choices.")


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings inside nested ones, by their full names."""
    flat = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def without_repeats(runs: Sequence[Run], keys: Sequence[str]) -> tuple[list[Run], list[Missing]]:
    """The runs less those that repeat another one, and these; of two, that with more models or else the first stays."""
    repeated = {}
    for group in repeats(runs, keys):
        kept, *others = sorted(group, key=lambda run: -len(run.judged))
        repeated |= {run.folder: Missing(run.folder, "left out", f"it repeats {kept.folder}") for run in others}
    return [run for run in runs if run.folder not in repeated], list(repeated.values())
