"""A run of plan.py: plan with a trained world model, execute, show what happens."""

from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from gapclose.data.datamodule import split
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.evaluation.gap import measure_gap
from gapclose.evaluation.plots import animate, plot_plans
from gapclose.evaluation.report import print_table, results_rows, write_json
from gapclose.models.world_model import WorldModel
from gapclose.runs.checkpoint import build_world_model, load_weights, read_checkpoint
from gapclose.runs.folder import claim, settle
from gapclose.runs.parts import Parts, check_run, pick_device
from gapclose.seeds import generator

BROUGHT = ("env", "data", "encoder", "model")
"""The groups that a checkpoint brings with it, unless the command line says otherwise."""


def run(cfg: DictConfig) -> None:
    """Plans as configured and writes metrics, pictures and animation into the Hydra run directory."""
    config, folder = settle(cfg)
    choices = HydraConfig.get().runtime.choices
    checkpoint = None
    if config.checkpoint is not None:
        checkpoint = read_checkpoint(config.checkpoint)
        adopt(config, OmegaConf.create(checkpoint["config"]), HydraConfig.get().overrides.task)
    elif choices.model != "oracle":
        raise UserError("There is nothing to plan with; give the checkpoint=PATH of a model, or model=oracle.")
    parts = Parts.build(config)
    check_run(seed=config.seed, num_threads=config.num_threads, num_tasks=config.num_tasks, task_seed=config.seed)
    simulator, device = parts.simulator, pick_device(config.device)
    if choices.model == "oracle":
        world_model: WorldModel = instantiate(config.model, simulator=simulator)
    else:
        world_model = build_world_model(config, simulator)
        load_weights(world_model, checkpoint, config.checkpoint)
    tasks = chosen_tasks(config, simulator)
    with claim(folder, config):
        *_, test = split(parts.data.load(simulator))
        tasks, test = (type(x)(*(tensor.to(device) for tensor in x)) for x in (tasks, test))
        gap, executions = measure_gap(
            world_model.to(device), parts.mpc, simulator, parts.objective, tasks, test, config.seed, choices.planner
        )
        metrics = {"env": simulator.name, "checkpoint": config.checkpoint, "seed": config.seed, **gap}
        write_json(folder / "metrics.json", metrics)
        plot_plans({"open loop": executions["open_loop"], "MPC": executions["mpc"]}, simulator, folder / "plans.png")
        for name in ("open_loop", "mpc"):
            animate(executions[name], simulator, folder / f"{name}.gif")
    rows = results_rows({(config.checkpoint and Path(config.checkpoint).stem) or "oracle": gap})
    print_table(rows, f"{simulator.name}, {len(tasks.start)} tasks, planner {choices.planner}")
    print(f"Everything is in {folder}.")


def adopt(config: DictConfig, of_checkpoint: DictConfig, overrides: list[str]) -> None:
    """Puts the groups that the checkpoint brings into the configuration; what the command line names goes first."""
    brought = OmegaConf.masked_copy(of_checkpoint, BROUGHT)
    brought.data.folder = config.data_dir
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = "env.task" if override.key_or_group == "task" else override.key_or_group
        if key.partition(".")[0] in BROUGHT:
            OmegaConf.update(brought, key, OmegaConf.select(config, key), merge=False)
    config.update(brought)


def chosen_tasks(config: DictConfig, simulator: Simulator) -> Tasks:
    """The tasks of the settings `start` and `goal`, or else as many random ones as `num_tasks` says."""
    if (config.start is None) != (config.goal is None):
        raise UserError("start and goal belong together; give both, such as start=[-1,1] goal=[1,-1], or neither.")
    if config.start is None:
        return simulator.sample_tasks(config.num_tasks, generator(config.seed, "plan tasks"))
    tasks = Tasks(*(states_of(config[name], name, simulator) for name in Tasks._fields))
    if len(tasks.start) != len(tasks.goal):
        raise UserError(f"There are {len(tasks.start)} starts and {len(tasks.goal)} goals; give as many of each.")
    return tasks


def states_of(value: ListConfig, name: str, simulator: Simulator) -> Tensor:
    """One state, or a list of states, as `[N, S]`."""
    try:
        states = torch.tensor(OmegaConf.to_container(value), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is {value}; give numbers, such as {name}=[-1,1].") from error
    states = torch.atleast_2d(states)
    simulator.validate_states(states, name)
    return states
