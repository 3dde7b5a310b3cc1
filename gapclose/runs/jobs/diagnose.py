"""The job of `python -m gapclose.diagnose`: why models are or are not reliable under planning.

The diagnostics themselves are in `gapclose.diagnostics`.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from gapclose.building import build
from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.diagnostics.diagnosis import Diagnostics, Subject
from gapclose.diagnostics.plots import draw_all
from gapclose.diagnostics.tables import diagnostic_tables
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError
from gapclose.evaluation.gap import HeldOut
from gapclose.evaluation.tables import print_table
from gapclose.explanation import naming_file
from gapclose.files import write_json
from gapclose.models.oracle import OracleWorldModel
from gapclose.overrides import key_of
from gapclose.planning.planner import Planner
from gapclose.runs.setup.parts import Parts, pick_device, set_threads
from gapclose.runs.setup.world_models import adopt_groups, restore_world_model
from gapclose.runs.storage.run_folder import run_lock
from gapclose.seeds import generator
from gapclose.training.checkpoint import read_checkpoint

log = logging.getLogger(__name__)


def run(config: DictConfig, folder: Path) -> None:
    """Runs the diagnostics and writes metrics and pictures into the folder."""
    if HydraConfig.get().runtime.choices.get("model") == "oracle":
        raise UserError("model=oracle has nothing to diagnose; leave it out: the results always include the oracle.")
    if config.trainer.get("strategy") is not None:
        raise UserError("gapclose.diagnose runs in one process; leave out trainer=ddp.")
    set_threads(config.num_threads, config.num_workers)
    paths = named_checkpoints(config)
    checkpoints = {name: read_checkpoint(path) for name, path in paths.items()}
    configs = checkpoint_configs(config, checkpoints, paths)
    parts, models, device = {}, {}, pick_device(config.device)
    for name, checkpoint in checkpoints.items():
        with naming_file(paths[name], list(map(key_of, HydraConfig.get().overrides.task))):
            parts[name] = Parts.build(configs[name])
            model = restore_world_model(configs[name], parts[name].simulator, checkpoint, paths[name])
        parts[name].objective.require(model)
        models[name] = model.to(device)
    first = next(iter(parts.values()))
    simulator = first.simulator
    diagnostics = build_diagnostics(config, first)
    tasks = simulator.sample_tasks(config.num_tasks, generator(config.seed, "plan tasks"))
    tasks = Tasks(*(states.to(device) for states in tasks))
    with run_lock(folder, config):
        first.train_policy(first.data.load(simulator), config)
        subjects = {}
        for name, model in models.items():
            trajectories = parts[name].data.load(simulator)
            held_out = HeldOut.of(tasks, trajectories, device)
            validation = held_out.validation.pieces(diagnostics.planner.horizon)
            objective = parts[name].objective.calibrated(model, validation)
            states = training_states(checkpoints[name], paths[name], trajectories)
            subjects[name] = Subject(model, objective, states, held_out.test)
        results, findings, cost_slice = diagnostics.run(subjects, simulator, tasks, config.seed)
        metrics = {"env": simulator.name, "checkpoints": paths, "seed": config.seed, "num_tasks": config.num_tasks}
        pictures = draw_all(results, findings, cost_slice, simulator, folder)
        write_json(folder / "metrics.json", metrics | {"models": results})
    for table in diagnostic_tables(results):
        print_table(table.rows, table.title, table.columns, table.caption)
    if not simulator.differentiable:
        log.info(
            "Without gradients of %s, the landscape of the true cost and the table of gradient agreement are left out.",
            simulator.name,
        )
    if not diagnostics.planner.can_plan_with(OracleWorldModel(simulator)):
        log.info("Plans with the true dynamics are left out too, as the planner needs gradients.")
    if not any(picture.stem == "error_maps" for picture in pictures):
        log.info("Maps are left out: a state of %s is more than a position in the plane.", simulator.name)
    print(f"Everything is in {folder}.")


def named_checkpoints(config: DictConfig) -> dict[str, str]:
    """Returns the checkpoint files of the setting `checkpoint`, by the names of the setting `names`.

    Raises:
        UserError: a setting is of the wrong type, or names are missing or not unique.
    """
    given = list(config.checkpoint) if isinstance(config.checkpoint, ListConfig) else [config.checkpoint]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise UserError(
            f"checkpoint is {config.checkpoint}; give the .ckpt file of a model, or a list of them: checkpoint=[A,B]."
        )
    names = [Path(path).stem for path in given] if config.names is None else config.names
    names = list(names) if isinstance(names, (list, ListConfig)) else [names]
    if len(names) != len(given) or len(set(names)) < len(names) or "oracle" in names:
        raise UserError(
            f"The checkpoints are named {', '.join(map(str, names))}; give each of the {len(given)} a name of its "
            "own, other than oracle: names=[before,after]."
        )
    return {str(name): path for name, path in zip(names, given)}


def checkpoint_configs(config: DictConfig, checkpoints: dict[str, Any], paths: dict[str, str]) -> dict[str, DictConfig]:
    """Returns the configuration of the diagnostics of each checkpoint.

    Args:
        config: configuration of the run; changed in place to the configuration of the first checkpoint.
        checkpoints: contents of the checkpoint files, by name.
        paths: paths of the files, by name.

    Raises:
        UserError: the checkpoints were trained in different environments.
    """
    overrides = list(HydraConfig.get().overrides.task)
    configs = {}
    for name, checkpoint in checkpoints.items():
        configs[name] = config.copy()
        adopt_groups(configs[name], checkpoint, paths[name], overrides)
    first, *others = configs
    for other in others:
        ours, theirs = (OmegaConf.to_container(configs[name].env) for name in (first, other))
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"The checkpoints are of different environments: env.{key} is {ours.get(key)} for {first} and "
                    f"{theirs.get(key)} for {other}; give checkpoints of one environment, or set it: env.{key}=VALUE."
                )
    config.update(configs[first])
    return configs


def build_diagnostics(config: DictConfig, parts: Parts) -> Diagnostics:
    """Builds the diagnostics with the planner and with the initialization of its search."""
    planner, simulator = parts.planner, parts.simulator
    bounds = {"action_low": simulator.action_low, "action_high": simulator.action_high}
    descent = build(config.descent, Planner, "descent", init=planner.init, **bounds)
    return build(config.diagnostics, Diagnostics, "diagnostics", planner=planner, descent=descent)


def training_states(checkpoint: dict[str, Any], path: str, trajectories: Trajectories) -> Tensor:
    """Returns the states `[L, S]` that the model was trained on: those of the data and of planner rollouts.

    Raises:
        UserError: those of the rollouts are of another environment.
    """
    states = split(trajectories)[0].states.flatten(0, 1)
    replay = checkpoint.get("WindowDataModule", {}).get("states")
    if replay is None:
        return states
    if replay.shape[2] != states.shape[1]:
        raise UserError(
            f"The replay buffer in {path} holds states of {replay.shape[2]} numbers, but those of the environment have "
            f"{states.shape[1]}; give a checkpoint that train.py wrote."
        )
    return torch.cat((states, replay.flatten(0, 1)))
