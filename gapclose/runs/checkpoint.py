"""Checkpoints: the weights of a world model with the configuration that it was made from."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.models.world_model import LearnedWorldModel
from gapclose.overrides import key_of

BROUGHT = ("env", "data", "encoder", "model")
"""The groups that a checkpoint brings with it, unless the command line says otherwise."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all: into a temporary file beside it, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class StoreConfig(Callback):
    """Puts the resolved configuration into every checkpoint, so that the file is enough to plan with.

    Args:
        config: the configuration of the run.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.to_container(config, resolve=True)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint file.

    Raises:
        UserError: there is no such file, or it is not a checkpoint of gapclose.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("**/*.ckpt"))
        raise UserError(
            f"{path} is a folder; give the checkpoint file in it" + (f", such as {found[-1]}." if found else ".")
        )
    if not path.exists():
        raise UserError(f"There is no checkpoint {path}; give the path of a .ckpt file that train.py wrote.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["state_dict"], checkpoint["config"]["model"]
    except Exception as error:
        raise UserError(
            f"{path} is not a checkpoint of gapclose, or is damaged ({type(error).__name__}); "
            "give a .ckpt file that train.py wrote."
        ) from error
    return checkpoint


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


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str | Path, name: str = "world_model") -> None:
    """Puts the weights of a checkpoint into a model.

    Args:
        model: receives them.
        checkpoint: the contents of the file.
        path: of the file, for the error message.
        name: what the LightningModule that wrote it calls the model.

    Raises:
        UserError: they are those of a model of another shape.
    """
    prefix = f"{name}."
    weights = {key.removeprefix(prefix): w for key, w in checkpoint["state_dict"].items() if key.startswith(prefix)}
    if not weights:
        raise UserError(f"The checkpoint {path} holds no {name}; give the checkpoint of one.")
    expected = model.state_dict()
    for key in sorted(expected.keys() | weights.keys()):
        given, wanted = (list(d[key].shape) if key in d else "absent" for d in (weights, expected))
        if given != wanted:
            raise UserError(
                f"The checkpoint {path} is of another shape than the model of this run: {key} is {given} there and "
                f"{wanted} here; choose the model and env that the checkpoint was trained with."
            )
    model.load_state_dict(weights)
