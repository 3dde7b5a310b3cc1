"""Checkpoint files: the weights of a model and the configuration of the run that trained it."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gapclose.conf_files import require_plain
from gapclose.errors import UserError
from gapclose.explanation import one_line
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
        files = sorted(path.glob("**/*.ckpt"))
        raise UserError(
            f"{path} is a folder; give the checkpoint file in it" + (f", such as {files[-1]}." if files else ".")
        )
    if not path.exists():
        raise UserError(f"There is no checkpoint {path}; give the path of a .ckpt file that train.py wrote.")
    try:
        require_intact(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        require_valid(checkpoint)
        checkpoint["config"] = with_present_names(checkpoint["config"])
    except OSError as error:
        if error.filename is None and error.errno is None:  # PyTorch's, about the contents
            raise damaged(path, error) from error
        raise
    except Exception as error:
        raise damaged(path, error) from error
    require_plain(checkpoint["config"], path)
    return checkpoint


def damaged(path: Path, error: Exception) -> UserError:
    """Returns the error that says that a file is no intact checkpoint, and why."""
    reason = str(error) if isinstance(error, ValueError | BadZipFile) else type(error).__name__
    return UserError(
        f"{path} is not a checkpoint of gapclose, or is damaged ({one_line(reason)[:200]}); give a .ckpt file that "
        "train.py wrote."
    )


def require_intact(path: Path) -> None:
    """Compares the parts of a checkpoint file with their checksums, which PyTorch writes but does not compare.

    Raises:
        ValueError: a part has been altered, or is compressed, so that its size is not bounded by that of the file.
        BadZipFile: the file is no zip archive.
    """
    with ZipFile(path) as archive:
        if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed")
        altered = archive.testzip()
    if altered:
        raise ValueError(f"the checksum of {altered} does not match")


def require_valid(checkpoint: Any) -> None:
    """Raises `ValueError` if the contents of a checkpoint are not those that training writes."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError("it holds no weights")
    if not isinstance(checkpoint.get("config"), dict):
        raise ValueError("it holds no configuration")
    replay = checkpoint.get("WindowDataModule", {})
    if not isinstance(replay, dict):
        raise ValueError("its replay buffer is no mapping")
    held = {name: replay[name] for name in ("states", "actions") if name in replay}
    for name, tensor in {**checkpoint["state_dict"], **held}.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ValueError(f"{name!r:.50} is no dense tensor")
        if tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"{name!r:.50} holds no real numbers")
        # An expanded tensor has more elements than the file; a copy of it might not fit into memory.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name!r:.50} is larger than its data")


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
