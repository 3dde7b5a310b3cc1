"""Checkpoint files: the weights of a model and the configuration of the run that trained it."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gapclose.conf_files import require_plain
from gapclose.data.replay import require_valid_state
from gapclose.errors import UserError
from gapclose.files import replacing
from gapclose.nested import values_in
from gapclose.renamed import with_present_names
from gapclose.tensor_files import damaged, read_tensor_file

ADVICE = "give a .ckpt file that train.py wrote"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: to a temporary file in the same folder, which is then renamed.

    They may be replaced by those of a stranger before they are read again.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read_tensor_file(Path(path), "checkpoint", ADVICE)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes nothing: a stage overwrites its files, and Lightning has the path from the resumed checkpoint."""


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
    """Reads a checkpoint file, which may come from a stranger: nothing in it is executed, and its contents are checked.

    Returns:
        The contents: `state_dict` holds dense tensors by name, and `config` is plain data with the present names. Which
        classes it names is for `gapclose.conf_files.require_known_targets`, before anything is built from it.

    Raises:
        UserError: the file does not exist, is damaged, or is not a checkpoint of gapclose.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        # The folder of a run, or of its checkpoints; what lies deeper may be anything.
        files = sorted((*path.glob("checkpoints/*.ckpt"), *path.glob("*.ckpt")))
        raise UserError(
            f"{path} is a folder; give the checkpoint file in it" + (f", such as {files[-1]}." if files else ".")
        )
    checkpoint = read_tensor_file(path, "checkpoint", ADVICE)
    try:
        require_valid(checkpoint)
        checkpoint["config"] = with_present_names(checkpoint["config"])
    except Exception as error:
        raise damaged(path, error, "checkpoint", ADVICE) from error
    require_plain(checkpoint["config"], path)
    return checkpoint


def require_valid(checkpoint: Any) -> None:
    """Raises `ValueError` if the contents of a checkpoint are not those that training writes."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError("it holds no weights")
    if not isinstance(checkpoint.get("config"), dict):
        raise ValueError("it holds no configuration")
    for name, value in checkpoint["state_dict"].items():
        if not isinstance(name, str):
            raise ValueError(f"{name!r:.50} is no name of weights")
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!r:.50} is no tensor")
    replay = checkpoint.get("WindowDataModule")
    if replay is not None:
        if not isinstance(replay, dict):
            raise ValueError("its replay buffer is no mapping")
        require_valid_state(replay)


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str | Path, name: str = "world_model") -> None:
    """Loads the weights of a checkpoint into a model.

    Args:
        model: the model that receives the weights.
        checkpoint: contents of the checkpoint file.
        path: path of the file, for error messages.
        name: attribute of the LightningModule that holds the model.

    Raises:
        UserError: the checkpoint has no such model, or its weights differ in shape or type, or are not finite.
    """
    weights = fitting_weights(model, checkpoint, path, name)
    for key, weight in weights.items():
        if not weight.isfinite().all():
            raise UserError(f"{path} cannot be used, as {key} holds NaN or infinite values; give another checkpoint.")
    model.load_state_dict(weights)


def fitting_weights(
    model: nn.Module, checkpoint: dict[str, Any], path: str | Path, name: str = "world_model"
) -> dict[str, Tensor]:
    """Returns the weights of a model in a checkpoint, by their names in the model; arguments as in `load_weights`.

    Raises:
        UserError: the checkpoint has no such model, or its weights differ in shape or type.
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
        if weights[key].dtype != expected[key].dtype:
            raise UserError(
                f"{path} cannot be used, as {key} is of {weights[key].dtype} instead of {expected[key].dtype}; give "
                "another checkpoint."
            )
    return weights


def valid_history(history: Any) -> list[dict[str, Any]]:
    """Returns the history in a checkpoint, which becomes a part of metrics.json.

    Raises:
        ValueError: it is not a list with a mapping of numbers, and names such as that of the planner, for each epoch.
    """
    entries = history if isinstance(history, list) else [None]
    if not all(isinstance(entry, dict) and type(entry.get("epoch")) is int for entry in entries):
        raise ValueError("the history in the checkpoint is not a list of epochs")
    for name, value in values_in(entries):
        if value is not None and type(value) not in (int, float) and not (isinstance(value, str) and len(value) < 1000):
            raise ValueError(f"{name} in the history in the checkpoint is {value!r:.50}; expected a number or a name")
    return history
