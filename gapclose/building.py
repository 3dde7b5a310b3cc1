"""Builds objects from their part of the configuration, and checks that they are of the expected kind."""

from typing import Any, TypeVar

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from gapclose.errors import UserError

Kind = TypeVar("Kind")


def build(config: DictConfig | None, kind: type[Kind], key: str, **arguments: Any) -> Kind:
    """Builds the object that a part of the configuration describes.

    Args:
        config: the part of the configuration.
        kind: class of the object.
        key: where the part is in the configuration, for error messages.
        arguments: further arguments of the object's class.

    Raises:
        UserError: the part describes no object, or one of another class; likewise the errors of Hydra and pydantic that
            `explain` handles.
    """
    if not isinstance(config, DictConfig) or not isinstance(config.get("_target_"), str):
        given = "null" if config is None else config
        raise UserError(f"{key} is {given}; choose one of its options: {key}=NAME (--help lists them).")
    if not may_make(config, kind):  # It is not even made, as that may write files.
        raise wrong_kind(config, kind, key)
    made = instantiate(config, **arguments)
    if not isinstance(made, kind):
        raise wrong_kind(config, kind, key)
    return made


def may_make(config: DictConfig, kind: type) -> bool:
    """Whether the class that a part of the configuration names can be of the kind; a function always can."""
    try:
        named = get_object(config["_target_"])
    except Exception:  # instantiate will say what is wrong.
        return True
    return not isinstance(named, type) or issubclass(named, kind)


def wrong_kind(config: DictConfig, kind: type, key: str) -> UserError:
    """Returns the error for a part of the configuration that describes an object of another class."""
    return UserError(
        f"{key}._target_ is {config['_target_']}, which makes no {kind.__name__}; choose one of the options of "
        f"{key}: {key}=NAME (--help lists them)."
    )
