"""The job of plan.py: plans with a trained world model, executes the plans, and compares prediction and outcome."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from gapclose.building import build
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.evaluation.comparison import compare
from gapclose.evaluation.gap import WAYS, HeldOut, measure_gap
from gapclose.evaluation.metrics_file import TITLES
from gapclose.evaluation.plots import animate, plot_budgets, plot_plans
from gapclose.evaluation.tables import (
    COMPARISON_CAPTION,
    COMPARISON_COLUMNS,
    comparison_rows,
    print_errors,
    print_table,
    results_rows,
)
from gapclose.explanation import naming_file
from gapclose.files import write_json
from gapclose.models.world_model import WorldModel
from gapclose.overrides import key_of
from gapclose.runs.setup.named_planners import build_compared_planners
from gapclose.runs.setup.parts import Parts, pick_device, set_threads
from gapclose.runs.setup.world_models import adopt_groups, restore_world_model
from gapclose.runs.storage.run_folder import run_lock
from gapclose.seeds import generator
from gapclose.training.checkpoint import read_checkpoint


def run(config: DictConfig, folder: Path) -> None:
    """Plans as configured and writes metrics, pictures and animations into the folder."""
    choices = HydraConfig.get().runtime.choices
    overrides = list(HydraConfig.get().overrides.task)
    checkpoint = None
    if config.checkpoint is not None:
        checkpoint = read_checkpoint(config.checkpoint)
        adopt_groups(config, checkpoint, config.checkpoint, overrides)
    elif choices.model != "oracle":
        raise UserError("There is nothing to plan with; give a model's checkpoint=PATH, or model=oracle.")
    if config.compile and choices.model == "oracle":
        raise UserError("compile=true compiles a learned model; the oracle has nothing to compile: leave it out.")
    if config.trainer.get("strategy") is not None:
        raise UserError("plan.py runs in one process; leave out trainer=ddp.")
    set_threads(config.num_threads, config.num_workers)
    ways = validated_ways(config.execute)
    with nullcontext() if checkpoint is None else naming_file(config.checkpoint, list(map(key_of, overrides))):
        if config.compare is None:
            parts_by_planner = {choices.planner: Parts.build(config)}
        else:
            parts_by_planner = build_compared_planners(config, overrides)
        simulator = next(iter(parts_by_planner.values())).simulator
        if choices.model == "oracle":
            world_model = build(config.model, WorldModel, "model", simulator=simulator)
        else:
            world_model = restore_world_model(config, simulator, checkpoint, config.checkpoint)
    if any(parts.mpc.adaptation for parts in parts_by_planner.values()):
        if choices.model == "oracle":
            raise UserError("The oracle has nothing to adapt; leave out adaptation, or plan with a learned model.")
        if "mpc" not in ways:
            raise UserError(
                "The model is adapted between the plans of MPC; add mpc to execute or leave out adaptation."
            )
    first, device = next(iter(parts_by_planner.values())), pick_device(config.device)
    first.objective.require(world_model)
    for parts in parts_by_planner.values():
        parts.planner.require(world_model)
    tasks = chosen_tasks(config, simulator)
    world_model = world_model.to(device)
    if config.compile:
        world_model.compile_step()
    with run_lock(folder, config):
        trajectories = first.data.load(simulator)
        for parts in parts_by_planner.values():
            parts.train_policy(trajectories, config)
        held_out = HeldOut.of(tasks, trajectories, device)
        # With model=oracle, the checkpoint only gives environment, data and objective.
        model = "oracle" if choices.model == "oracle" else Path(config.checkpoint).stem
        metrics = {"env": simulator.name, "model": model, "checkpoint": config.checkpoint, "seed": config.seed}
        arguments = (simulator, first.objective, held_out, config.seed)
        title = f"{simulator.name}, {len(tasks.start)} tasks"
        if config.compare is None:
            gap, executions = measure_gap(world_model, first.mpc, *arguments, choices.planner, ways)
            write_json(folder / "metrics.json", metrics | gap)
            shown = [*ways, *(["mpc_adapted"] if "mpc_adapted" in executions else [])]
            plot_plans({TITLES[way]: executions[way] for way in shown}, simulator, folder / "plans.png")
            for way in shown:
                animate(executions[way], simulator, folder / f"{way}.gif")
            print_table(results_rows({model: gap}), f"{title}, planner {choices.planner}")
            print_errors({model: gap})
        else:
            planners = {name: parts.mpc for name, parts in parts_by_planner.items()}
            comparison, executions = compare(world_model, planners, *arguments, ways)
            write_json(folder / "metrics.json", metrics | comparison)
            if "open_loop" in ways:
                plot_budgets(comparison["planners"], folder / "success_by_seconds.png")
                open_loop = {name: by_way["open_loop"] for name, by_way in executions.items()}
                plot_plans(open_loop, simulator, folder / "plans.png")
            rows = comparison_rows(comparison["planners"])
            print_table(rows, title, COMPARISON_COLUMNS, COMPARISON_CAPTION)
    print(f"Everything is in {folder}.")


def validated_ways(execute: Any) -> tuple[str, ...]:
    """Returns the ways to execute that the setting `execute` names.

    Raises:
        UserError: it is empty, or names others than those of `WAYS`.
    """
    ways = tuple(execute) if isinstance(execute, ListConfig) else (execute,)
    if not ways or not set(ways) <= set(WAYS):
        raise UserError(f"execute is {execute}; give a list of {' and '.join(WAYS)}, such as execute=[open_loop].")
    return ways


def chosen_tasks(config: DictConfig, simulator: Simulator) -> Tasks:
    """Returns the tasks of the settings `start` and `goal`, or `num_tasks` random ones if these are not set.

    Raises:
        UserError: one of `start` and `goal` is missing, they are not valid states, or their numbers differ.
    """
    if (config.start is None) != (config.goal is None):
        raise UserError("start and goal belong together; give both, such as start=[-1,1] goal=[1,-1], or neither.")
    if config.start is None:
        return simulator.sample_tasks(config.num_tasks, generator(config.seed, "plan tasks"))
    tasks = Tasks(*(parse_states(config[name], name, simulator) for name in Tasks._fields))
    if len(tasks.start) != len(tasks.goal):
        raise UserError(f"There are {len(tasks.start)} starts and {len(tasks.goal)} goals; give equally many.")
    return tasks


def parse_states(value: ListConfig, name: str, simulator: Simulator) -> Tensor:
    """Converts one state, or a list of states, to a tensor `[N, S]`, and validates the states."""
    try:
        states = torch.tensor(OmegaConf.to_container(value), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is {value}; give numbers, such as {name}=[-1,1].") from error
    states = torch.atleast_2d(states)
    simulator.validate_states(states, name)
    return states
