"""A run of `python -m gapclose.diagnose`: why models do or do not survive planning."""

import logging
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.diagnostics.diagnosis import Diagnostics, Subject
from gapclose.diagnostics.plots import draw_all
from gapclose.diagnostics.tables import reports
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError
from gapclose.evaluation.gap import HeldOut
from gapclose.evaluation.tables import print_table
from gapclose.files import write_json
from gapclose.models.oracle import OracleWorldModel
from gapclose.runs.setup.parts import Parts, check_run, pick_device
from gapclose.runs.setup.world_models import adopt, restore_world_model
from gapclose.runs.storage.run_folder import config_and_folder, run_lock
from gapclose.seeds import generator
from gapclose.training.checkpoint import read_checkpoint

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Diagnoses as configured and writes metrics and pictures into the Hydra run directory."""
    config, folder = config_and_folder(cfg)
    if HydraConfig.get().runtime.choices.get("model") == "oracle":
        raise UserError("model=oracle has nothing to diagnose; it is the row that models are compared with anyway.")
    if config.trainer.get("strategy") is not None:
        raise UserError("gapclose.diagnose runs in one process; leave out trainer=ddp.")
    check_run(
        seed=config.seed,
        num_threads=config.num_threads,
        num_workers=config.num_workers,
        num_tasks=config.num_tasks,
    )
    paths = chosen_checkpoints(config)
    checkpoints = {name: read_checkpoint(path) for name, path in paths.items()}
    configs = adopted(config, checkpoints)
    parts = {name: Parts.build(of_model) for name, of_model in configs.items()}
    first = next(iter(parts.values()))
    simulator, device = first.simulator, pick_device(config.device)
    models = {}
    for name, checkpoint in checkpoints.items():
        models[name] = restore_world_model(configs[name], simulator, checkpoint, paths[name]).to(device)
        parts[name].objective.require(models[name])
    diagnostics = build_diagnostics(config, first)
    tasks = simulator.sample_tasks(config.num_tasks, generator(config.seed, "plan tasks"))
    tasks = Tasks(*(states.to(device) for states in tasks))
    with run_lock(folder, config):
        first.train_policy(first.data.load(simulator), config)
        subjects = {}
        for name, model in models.items():
            trajectories = parts[name].data.load(simulator)
            held_out = HeldOut.of(tasks, trajectories, device)
            as_plans = held_out.validation.pieces(diagnostics.planner.horizon)
            objective = parts[name].objective.calibrated(model, as_plans)
            subjects[name] = Subject(model, objective, seen(checkpoints[name], trajectories), held_out.test)
        found, findings, cut = diagnostics.run(subjects, simulator, tasks, config.seed)
        metrics = {"env": simulator.name, "checkpoints": paths, "seed": config.seed, "num_tasks": config.num_tasks}
        pictures = draw_all(found, findings, cut, simulator, folder)
        write_json(folder / "metrics.json", metrics | {"models": found})
    for report in reports(found):
        print_table(report.rows, report.title, report.columns, report.caption)
    if not simulator.differentiable:
        log.info("Without gradients of %s there is no landscape of the true cost, nor question 4.", simulator.name)
    if not diagnostics.planner.can_plan_with(OracleWorldModel(simulator)):
        log.info("Nor are there plans with the true dynamics, as the planner descends gradients.")
    if not any(picture.stem == "error_maps" for picture in pictures):
        log.info("There are no maps: the state of %s is more than a position in the plane.", simulator.name)
    print(f"Everything is in {folder}.")


def chosen_checkpoints(config: DictConfig) -> dict[str, str]:
    """The files of the setting `checkpoint` by their `names`."""
    given = list(config.checkpoint) if isinstance(config.checkpoint, ListConfig) else [config.checkpoint]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise UserError(
            f"checkpoint is {config.checkpoint}; give the .ckpt file of a model, or a list of them: checkpoint=[A,B]."
        )
    names = [Path(path).stem for path in given] if config.names is None else config.names
    names = list(names) if isinstance(names, (list, ListConfig)) else [names]
    if len(names) != len(given) or len(set(names)) < len(names) or "oracle" in names:
        raise UserError(
            f"The checkpoints are called {', '.join(map(str, names))}; give each of the {len(given)} a name of its "
            "own, other than oracle: names=[before,after]."
        )
    return {str(name): path for name, path in zip(names, given)}


def adopted(config: DictConfig, checkpoints: dict[str, Any]) -> dict[str, DictConfig]:
    """The configuration that each checkpoint is diagnosed with; that of the run becomes the first one's.

    Raises:
        UserError: they were not trained in the same world.
    """
    overrides = list(HydraConfig.get().overrides.task)
    configs = {}
    for name, checkpoint in checkpoints.items():
        configs[name] = config.copy()
        adopt(configs[name], OmegaConf.create(checkpoint["config"]), overrides)
    first, *others = configs
    for other in others:
        ours, theirs = (OmegaConf.to_container(configs[name].env) for name in (first, other))
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"The checkpoints are of different worlds: env.{key} is {ours.get(key)} for {first} and "
                    f"{theirs.get(key)} for {other}; give checkpoints of one, or choose it: env.{key}=VALUE."
                )
    config.update(configs[first])
    return configs


def build_diagnostics(config: DictConfig, parts: Parts) -> Diagnostics:
    """What is measured, with the planner and the start of its search."""
    planner, simulator = parts.planner, parts.simulator
    bounds = {"action_low": simulator.action_low, "action_high": simulator.action_high}
    descent = instantiate(config.descent, init=planner.init, **bounds)
    return instantiate(config.diagnostics, planner=planner, descent=descent)


def seen(checkpoint: dict[str, Any], trajectories: Trajectories) -> Tensor:
    """The states `[L, S]` that a checkpoint's model was trained on: expert data, and what planner rollouts added."""
    states = split(trajectories)[0].states.flatten(0, 1)
    replay = checkpoint.get("WindowDataModule", {}).get("states")
    return states if replay is None else torch.cat((states, replay.flatten(0, 1)))
