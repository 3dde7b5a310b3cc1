"""World models built from a configuration: a new one, or that of a checkpoint with the groups that it brings."""

from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel
from gapclose.overrides import key_of
from gapclose.training.checkpoint import load_weights

BROUGHT = ("env", "data", "encoder", "model")
"""The groups that a checkpoint brings with it, unless the command line says otherwise."""


def build_world_model(config: DictConfig, simulator: Simulator) -> LearnedWorldModel:
    """An untrained world model for a simulator, from the groups `encoder` and `model`.

    Raises:
        UserError: it is to be compiled, and looks back.
    """
    kinds = {"angles": simulator.angles, "alike": simulator.alike}
    encoder = instantiate(config.encoder, state_dim=simulator.state_dim, **kinds)
    dynamics = instantiate(config.model, latent_dim=encoder.latent_dim, action_dim=simulator.action_dim)
    if config.get("compile") and dynamics.context > 1:  # That would take minutes.
        raise UserError("A model that looks back (model.context above 1) cannot be compiled; leave out compile=true.")
    return LearnedWorldModel(encoder, dynamics)


def adopt(config: DictConfig, of_checkpoint: DictConfig, overrides: list[str]) -> None:
    """Puts the groups that the checkpoint brings into the configuration; what the command line names goes first.

    Objective and policy are brought as a whole, or not at all if the command line names a part of them: the one has to
    fit the model, and what a policy's schedule took from its number of epochs is resolved in the checkpoint. With an
    equal `trainer`, `init=policy` so starts from the policy that the model was evaluated with.

    Raises:
        UserError: see `require_target`.
    """
    keys = [key_of(override) for override in overrides]
    brought = OmegaConf.masked_copy(of_checkpoint, BROUGHT)
    brought.data.folder = config.data_dir
    for key in keys:
        if key.partition(".")[0] in BROUGHT:
            OmegaConf.update(brought, key, OmegaConf.select(config, key), merge=False)
    if not any(key == "model" or key.partition(".")[0] == "objective" for key in keys):
        brought.objective = of_checkpoint.objective
    if "policy" in of_checkpoint and not any(key.partition(".")[0] == "policy" for key in keys):
        brought.policy = of_checkpoint.policy
        for part in ("network", "training"):
            require_target(f"policy.{part}", brought.policy[part]._target_)
    for group in BROUGHT:
        require_target(group, brought[group]._target_)
        if group in config.choices and group not in keys:
            config.choices[group] = of_checkpoint.choices.get(group)
    config.update(brought)


def require_target(group: str, target: str) -> None:
    """Raises `UserError` unless there is what makes the checkpoint's group: another version may have called it so."""
    try:
        get_object(target)
    except ImportError as error:
        raise UserError(
            f"The checkpoint's {group} is made by {target}, which this version of gapclose does not have; "
            f"choose it anew, with its settings, by {group}=OPTION."
        ) from error


def restore_world_model(
    config: DictConfig, simulator: Simulator, checkpoint: dict[str, Any], path: str | Path
) -> LearnedWorldModel:
    """The world model of a checkpoint, whose configuration has been adopted.

    Raises:
        UserError: what the command line changed is of another shape.
    """
    world_model = build_world_model(config, simulator)
    load_weights(world_model, checkpoint, path)
    return world_model
