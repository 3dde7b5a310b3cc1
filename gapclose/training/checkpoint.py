"""Checkpoint files: the weights of a model and the configuration of the run that trained it."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.renamed import with_present_names


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: to a temporary file in the same folder, which is then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class StoreConfig(Callback):
    """Stores the resolved configuration in every checkpoint, so that plans need nothing but the file.

    Args:
        config: the configuration of the run.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.to_container(config, resolve=True)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint file.

    Raises:
        UserError: the file does not exist, or is not a checkpoint of gapclose.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("**/*.ckpt"))
        raise UserError(
            f"{path} is a folder; give the checkpoint file in it" + (f", such as {files[-1]}." if files else ".")
        )
    if not path.exists():
        raise UserError(f"There is no checkpoint {path}; give the path of a .ckpt file that train.py wrote.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["state_dict"], checkpoint["config"]["model"]
        checkpoint["config"] = with_present_names(checkpoint["config"])
    except Exception as error:
        raise UserError(
            f"{path} is not a checkpoint of gapclose, or is damaged ({type(error).__name__}); "
            "give a .ckpt file that train.py wrote."
        ) from error
    return checkpoint


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str | Path, name: str = "world_model") -> None:
    """Loads the weights of a checkpoint into a model.

    Args:
        model: the model that receives the weights.
        checkpoint: contents of the checkpoint file.
        path: path of the file, for error messages.
        name: attribute of the LightningModule that holds the model.

    Raises:
        UserError: the checkpoint has no such model, or the shapes of its weights differ.
    """
    prefix = f"{name}."
    weights = {key.removeprefix(prefix): w for key, w in checkpoint["state_dict"].items() if key.startswith(prefix)}
    if not weights:
        raise UserError(f"The checkpoint {path} holds no {name}; give a checkpoint of a {name}.")
    expected = model.state_dict()
    for key in sorted(expected.keys() | weights.keys()):
        stored, expected_shape = (list(d[key].shape) if key in d else "absent" for d in (weights, expected))
        if stored != expected_shape:
            raise UserError(
                f"The checkpoint {path} is of another shape than the model of this run: {key} is {stored} in the "
                f"checkpoint and {expected_shape} in the model; choose the model and env that the checkpoint was "
                "trained with."
            )
    model.load_state_dict(weights)
