"""Checkpoint files: the weights of a model, with the configuration of the run that trained it."""

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
        checkpoint["config"] = with_present_names(checkpoint["config"])
    except Exception as error:
        raise UserError(
            f"{path} is not a checkpoint of gapclose, or is damaged ({type(error).__name__}); "
            "give a .ckpt file that train.py wrote."
        ) from error
    return checkpoint


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
