"""Makes the folders that train.py leaves of a sweep, without running it."""

import json

import pandas as pd
import pytest
import yaml

from gapclose.evaluation.outcomes import COLUMNS, write_outcomes
from gapclose.sweeps.results import collect_settings
from gapclose.sweeps.runs import read_runs
from gapclose.sweeps.varied_settings import varied_keys


def leave_run(
    folder, overrides, seed, success, error, finetune="online", ways=("open_loop", "mpc"), models=None, defaults=()
):
    """Writes the files that train.py leaves of a run, with given successes and errors of each task.

    Args:
        folder: of the sweep.
        overrides: of the command line.
        seed: of the run.
        success: of each task.
        error: of each task.
        finetune: mode.
        ways: to execute.
        models: the evaluated models.
        defaults: settings and groups that no command line names, written like overrides.
    """
    run = folder / f"run{len(list(folder.glob('run*')))}"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*overrides, f"seed={seed}"]))
    config = {"seed": seed, "choices": {"finetune": finetune}, "evaluation": {"seed": 0, "num_tasks": len(success)}}
    for setting in (*defaults, *overrides):
        name, _, value = setting.lstrip("+").partition("=")
        *groups, last = name.split(".") if "." in name else ("choices", name)
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = yaml.safe_load(value)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    models = models or ["baseline" if finetune == "none" else "finetuned"]
    gap = {"expert_error": 1e-5, "open_loop": {"train_test_gap": 1e5 * sum(error) / len(error)}}
    metrics = {"seed": seed, "finetune": finetune, "wall_clock_seconds": 10.0 + seed, "simulator_steps": 3000}
    (run / "metrics.json").write_text(json.dumps({**metrics, **dict.fromkeys(models, gap)}))
    columns = {"success": success, "goal_distance": error, "world_model_error": error}
    table = pd.DataFrame(columns).assign(task=range(len(success)))
    tables = [table.assign(model=model, way=way) for model in models for way in ways]
    write_outcomes(run / "tasks.csv", pd.concat(tables)[COLUMNS])
    return run


def read_settings(folder):
    """Reads the settings of the sweep in a folder."""
    runs, _ = read_runs(folder)
    return collect_settings(runs, varied_keys(runs))


@pytest.fixture
def methods(tmp_path):
    """A sweep of methods under two conditions, one of them without a control."""
    folder = tmp_path / "methods"
    for seed in (0, 1):
        control = ["finetune=continue", "model=mlp", "data_dir=somewhere", "sweep=wall"]
        leave_run(folder, control, seed, [1, 0, 0, 0], [0.4, 0.4, 0.2, 0.2], "continue")
        leave_run(folder, ["finetune=online", "model=mlp"], seed, [1, 1, 1, 0], [0.1, 0.1, 0.1, 0.1])
        leave_run(folder, ["finetune=online", "model=ensemble"], seed, [1, 1, 1, 1], [0.0, 0.0, 0.0, 0.1])
    return folder


@pytest.fixture
def grid(tmp_path):
    """A plain sweep over horizon, action_max and model; success falls with the horizon."""
    folder = tmp_path / "grid"
    for horizon, rate in ((150, 1), (25, 3), (50, 2)):
        for action_max in (0.25, 0.1):
            for seed in (1, 0):
                settings = ["finetune=online", f"planner.horizon={horizon}", f"env.action_max={action_max}"]
                errors = [horizon * action_max * (1 + task + seed) for task in range(4)]
                leave_run(folder, settings, seed, [1] * rate + [0] * (4 - rate), errors)
    return folder
