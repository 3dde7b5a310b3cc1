"""Builds world models from a configuration: a new one, or that of a checkpoint with the checkpoint's settings."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gapclose.building import build
from gapclose.conf_files import require_known_targets
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.explanation import naming_file
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.world_model import LearnedWorldModel
from gapclose.overrides import key_of
from gapclose.runs.setup.run_settings import check_settings
from gapclose.training.checkpoint import fitting_weights, load_weights

CHECKPOINT_GROUPS = ("env", "data", "encoder", "model")
"""Config groups that come from the checkpoint, unless the command line sets them."""


def build_world_model(config: DictConfig, simulator: Simulator) -> LearnedWorldModel:
    """Builds an untrained world model for a simulator from the groups `encoder` and `model`.

    Raises:
        UserError: the model is to be compiled and has a context above 1.
    """
    kinds = {"angles": simulator.angles, "alike": simulator.alike}
    encoder = build(config.encoder, nn.Module, "encoder", state_dim=simulator.state_dim, **kinds)
    sizes = {"latent_dim": encoder.latent_dim, "action_dim": simulator.action_dim}
    dynamics = build(config.model, Dynamics, "model", **sizes)
    if config.get("compile") and dynamics.context > 1:  # Compiling it would take minutes.
        raise UserError("A model with model.context above 1 cannot be compiled; leave out compile=true.")
    return LearnedWorldModel(encoder, dynamics)


def adopt_groups(config: DictConfig, checkpoint: dict[str, Any], path: str | Path, overrides: list[str]) -> None:
    """Copies the groups of `CHECKPOINT_GROUPS`, objective and policy from the checkpoint into the configuration.

    Settings of the command line take precedence. Objective and policy are copied as a whole, or not at all if the
    command line sets a part of them. The objective must fit the model. The checkpoint stores the policy's schedule for
    a fixed number of epochs; it would stay the same if `policy.training.epochs` changed. Thus, with the same `trainer`,
    `init=policy` uses the policy that the model was evaluated with.

    Args:
        config: configuration of the run, which is changed.
        checkpoint: contents of the checkpoint file.
        path: path of the file, for error messages.
        overrides: overrides of the command line.

    Raises:
        UserError: a group is missing in the checkpoint, names a class that no option of this version names, or has a
            seed that is none.
    """
    stored, keys = checkpoint["config"], [key_of(override) for override in overrides]
    names = list(CHECKPOINT_GROUPS)
    if not any(key == "model" or key.partition(".")[0] == "objective" for key in keys):
        names.append("objective")
    if "policy" in stored and not any(key.partition(".")[0] == "policy" for key in keys):
        names.append("policy")
    for name in names:
        if not isinstance(stored.get(name), dict):
            raise UserError(f"The configuration in {path} has no {name}; give a checkpoint that train.py wrote.")
    adopted = OmegaConf.create({name: stored[name] for name in names})
    adopted.data.folder = config.data_dir
    for key in keys:
        if key.partition(".")[0] in CHECKPOINT_GROUPS:
            OmegaConf.update(adopted, key, OmegaConf.select(config, key), merge=False)
    require_known_targets(OmegaConf.to_container(adopted), path)
    choices = stored.get("choices")
    for group in CHECKPOINT_GROUPS:
        if group in config.choices and group not in keys:
            config.choices[group] = choices.get(group) if isinstance(choices, dict) else None
    config.update(adopted)
    with naming_file(path, keys):
        check_settings(config, "checkpoint")


def restore_world_model(
    config: DictConfig, simulator: Simulator, checkpoint: dict[str, Any], path: str | Path
) -> LearnedWorldModel:
    """Builds the world model of a checkpoint and loads its weights.

    Args:
        config: configuration after `adopt_groups`.
        simulator: simulator of the run.
        checkpoint: contents of the checkpoint file.
        path: path of the file, for error messages.

    Raises:
        UserError: the weights do not fit, as the command line changes settings of the model.
    """
    with torch.device("meta"):  # Takes no memory, whatever size the stored configuration asks for.
        fitting_weights(build_world_model(config, simulator), checkpoint, path)
    world_model = build_world_model(config, simulator)
    load_weights(world_model, checkpoint, path)
    world_model.name = f"the world model of {path}"
    return world_model
