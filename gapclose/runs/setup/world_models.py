"""Builds world models from a configuration: a new one, or that of a checkpoint with the checkpoint's settings."""

from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel
from gapclose.overrides import key_of
from gapclose.training.checkpoint import load_weights

CHECKPOINT_GROUPS = ("env", "data", "encoder", "model")
"""Config groups that come from the checkpoint, unless the command line sets them."""


def build_world_model(config: DictConfig, simulator: Simulator) -> LearnedWorldModel:
    """Builds an untrained world model for a simulator from the groups `encoder` and `model`.

    Raises:
        UserError: the model is to be compiled and has a context above 1.
    """
    kinds = {"angles": simulator.angles, "alike": simulator.alike}
    encoder = instantiate(config.encoder, state_dim=simulator.state_dim, **kinds)
    dynamics = instantiate(config.model, latent_dim=encoder.latent_dim, action_dim=simulator.action_dim)
    if config.get("compile") and dynamics.context > 1:  # Compiling it would take minutes.
        raise UserError("A model with model.context above 1 cannot be compiled; leave out compile=true.")
    return LearnedWorldModel(encoder, dynamics)


def adopt_groups(config: DictConfig, checkpoint_config: DictConfig, overrides: list[str]) -> None:
    """Copies the groups of `CHECKPOINT_GROUPS`, objective and policy from the checkpoint into the configuration.

    Settings of the command line take precedence. Objective and policy are copied as a whole, or not at all if the
    command line sets a part of them. The objective must fit the model. The checkpoint stores the policy's schedule for
    a fixed number of epochs; it would stay the same if `policy.training.epochs` changed. Thus, with the same `trainer`,
    `init=policy` uses the policy that the model was evaluated with.

    Args:
        config: configuration of the run, which is changed.
        checkpoint_config: configuration in the checkpoint.
        overrides: overrides of the command line.

    Raises:
        UserError: a class of the checkpoint does not exist in this version.
    """
    keys = [key_of(override) for override in overrides]
    adopted = OmegaConf.masked_copy(checkpoint_config, CHECKPOINT_GROUPS)
    adopted.data.folder = config.data_dir
    for key in keys:
        if key.partition(".")[0] in CHECKPOINT_GROUPS:
            OmegaConf.update(adopted, key, OmegaConf.select(config, key), merge=False)
    if not any(key == "model" or key.partition(".")[0] == "objective" for key in keys):
        adopted.objective = checkpoint_config.objective
    if "policy" in checkpoint_config and not any(key.partition(".")[0] == "policy" for key in keys):
        adopted.policy = checkpoint_config.policy
        for part in ("network", "training"):
            require_target(f"policy.{part}", adopted.policy[part]._target_)
    for group in CHECKPOINT_GROUPS:
        require_target(group, adopted[group]._target_)
        if group in config.choices and group not in keys:
            config.choices[group] = checkpoint_config.choices.get(group)
    config.update(adopted)


def require_target(group: str, target: str) -> None:
    """Raises `UserError` if the class of a checkpoint's group does not exist, as in checkpoints of other versions."""
    try:
        get_object(target)
    except ImportError as error:
        raise UserError(
            f"The checkpoint's {group} is made by {target}, which this version of gapclose does not have; "
            f"choose it and its settings again with {group}=OPTION."
        ) from error


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
    world_model = build_world_model(config, simulator)
    load_weights(world_model, checkpoint, path)
    return world_model
