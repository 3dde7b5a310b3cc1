"""A run's folder as train.py leaves it, made without training, and a browser to look at its report."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.evaluation.outcomes import outcomes, write_outcomes
from gapclose.planning.execution import Execution
from gapclose.report.record import MAPS, PLANS, write_arrays, write_plans

NUM_TASKS, STEPS = 4, 8


def executed(simulator, ghost: bool) -> Execution:
    """Walks straight to the goal, which is behind the wall for all tasks but the last; a `ghost` imagines to arrive."""
    start = torch.tensor([[-1.0, 1.5], [-1.2, 1.2], [-1.0, -1.5], [-1.0, 0.0]])
    goal = torch.tensor([[1.0, 1.4], [0.8, 1.2], [1.0, -1.5], [1.0, 0.0]])
    straight = ((goal - start) / STEPS).unsqueeze(1).expand(-1, STEPS, -1)
    states = simulator.rollout(start, straight)
    imagined = start.unsqueeze(1) + torch.linspace(0, 1, STEPS + 1)[None, :, None] * (goal - start).unsqueeze(1)
    if not ghost:  # It knows the wall, and happens to be let through: what is to be seen is that the two agree.
        states = imagined
    done = torch.ones(NUM_TASKS, STEPS, dtype=torch.bool)
    return Execution(Tasks(start, goal), straight, states, imagined, done, imagined[:, -1], 1.0, 10)


def diverged(execution: Execution) -> Execution:
    """The same with a model whose imagined states are NaN from the third step on and end at infinity."""
    imagined = execution.imagined.clone()
    imagined[:, 3:] = torch.nan
    return execution._replace(imagined=imagined, promised=torch.full_like(execution.promised, torch.inf))


def gap(success, error):
    """The metrics of one model; a model without an error has diverged."""
    result = {
        "planner": "multistart",
        "num_tasks": NUM_TASKS,
        "success_rate": success,
        "success_rate_ci95": [0.0, 1.0],
        "goal_distance": 1.5,
        "imagined_goal_distance": 0.01 if error is not None else None,
        "world_model_error": error,
        "train_test_gap": error and error / 1e-5,
        "planning_seconds": 1.0,
    }
    return {"expert_error": 1e-5, "open_loop": result, "mpc": result}


def metrics_of(models=("baseline", "finetuned", "oracle"), **changed):
    """Content of metrics.json of train.py."""
    gaps = {"baseline": gap(0.25, 0.4), "finetuned": gap(1.0, 0.001), "oracle": gap(1.0, 0.0)}
    common = {"env": "wall", "data": "expert", "model": "mlp", "finetune": "online", "seed": 0}
    return common | {"wall_clock_seconds": 12.0, "gradient_steps": 30} | {name: gaps[name] for name in models} | changed


class WithFigures(Wall):
    """A wall whose states are drawn with a figure: a bar and a flag."""

    def figure(self, state):
        bar = torch.tensor([[[0.0, 0.0], [0.3, 0.0]], [[0.3, 0.0], [0.3, 0.1]]])
        return state[..., None, None, :] + bar


@pytest.fixture
def flagged():
    return WithFigures()


@pytest.fixture
def make_run(tmp_path, wall):
    """Makes the folder of a run with these models; a baseline without an error has diverged."""

    def make(
        name="run",
        models=("baseline", "finetuned", "oracle"),
        overrides=("finetune=online",),
        simulator=wall,
        **changed,
    ):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(list(overrides)))
        config = {"finetune": {"epochs": 2}, "mpc": {"replan_every": 2}, "note": "<script>alert(1)</script>"}
        chosen = dict(override.split("=", 1) for override in overrides if not override.startswith("seed="))
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"choices": chosen}))
        metrics = metrics_of(models, **changed)
        rollouts = [{"epoch": epoch, "success_rate": 0.2 * epoch, "world_model_error": 0.1} for epoch in (0, 1)]
        if "finetuned" in models:
            metrics["rollouts"] = rollouts
        (folder / "metrics.json").write_text(json.dumps(metrics))
        plans = {
            model: dict.fromkeys(("open_loop", "mpc"), executed(simulator, model == "baseline")) for model in models
        }
        if "baseline" in models and metrics["baseline"]["open_loop"]["world_model_error"] is None:
            plans["baseline"] = {way: diverged(execution) for way, execution in plans["baseline"].items()}
        write_plans(folder / PLANS, plans, simulator)
        write_outcomes(folder / "tasks.csv", outcomes(plans, simulator))
        cells, ticks = np.linspace(-2, 2, 5, dtype=np.float32), np.linspace(-1, 1, 3, dtype=np.float32)
        maps = {
            "errors/edges": np.stack((cells, cells)),
            "cost/task": np.array(0),
            "cost/ticks": np.stack((ticks, ticks)),
        }
        for model in models:
            maps[f"cost/{model}"], maps[f"cost/{model}/plan"] = np.ones((3, 3), np.float32), np.zeros(2, np.float32)
            if model != "oracle":
                maps[f"errors/{model}"] = np.full((4, 4), 0.01, np.float32)
        write_arrays(folder / MAPS, maps)
        return folder

    return make


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests are skipped if it is not installed."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None)
    if path is None:
        pytest.skip("There is no chromium, chromium-browser or google-chrome.")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, request):
    """Opens a page and waits for its charts, or opens it without them.

    A picture of it is kept in $GAPCLOSE_SCREENSHOTS, where that is set.

    Returns what was opened as `page`, the `problems` that its console told of, and the `requests` it made.
    """
    contexts = []

    def open_page(path, charts=True, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page, problems, requests = context.new_page(), [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda made: requests.append(made.url))
        if not charts:  # Drawing them takes seconds.
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace('id="plotly-data"', 'id="no-data"'), encoding="utf-8")
        page.goto(path.resolve().as_uri())
        if charts:
            page.wait_for_function(
                "[...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('.main-svg, canvas'))"
            )
        else:
            page.wait_for_selector("#player optgroup", state="attached")
        if kept := os.environ.get("GAPCLOSE_SCREENSHOTS"):
            page.screenshot(path=f"{kept}/{request.node.name}.png", full_page=True)
        return SimpleNamespace(page=page, problems=problems, requests=requests)

    yield open_page
    for context in contexts:
        context.close()
