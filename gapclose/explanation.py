"""Errors that a user can put right, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from gapclose.errors import UserError, unusable

PLUGINS = {
    "'hydra/launcher/joblib'": "sweeps",
    "'hydra/launcher/submitit_": "sweeps",
    "'hydra/sweeper/optuna'": "sweeps",
    "'hydra_plugins.hydra_ray_launcher.": "ray",
}
"""What Hydra names when a plugin is not installed, and the extra of gapclose that brings it."""


def explain(error: BaseException) -> str | None:
    """The sentence for an error that a user can put right; none for a defect of the program."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error) or is_out_of_memory(error.__cause__):
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        return (
            f"The memory does not suffice{f' ({asked[1]} were asked for at once)' if asked else ''}; lower "
            "planner.horizon, planner.num_samples or planner.num_starts, the number of tasks or trajectories, a batch "
            "size, or the size of the model."
        )
    if isinstance(error, InstantiationException):
        key = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else ""
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            return explain_validation(cause, key)
        return str(cause) if isinstance(cause, UserError) else f"{key}: {one_line(str(cause))}"
    if isinstance(error, ValidationError):
        return explain_validation(error, "")
    text = str(error)
    for named, extra in PLUGINS.items():
        if named in text:
            return (
                "This needs a plugin of Hydra that is not installed; get it by pip install 'gapclose[EXTRA]', or in a "
                "checkout by pip install -e '.[EXTRA]'."
            ).replace("EXTRA", extra)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        for inner_workings in ("Config search path", "See https://hydra.cc", "To append to your config use"):
            text = text.partition(inner_workings)[0]
        advice = " --help lists all groups and settings." if text.startswith("Could not override") else ""
        return one_line(text) + advice
    if isinstance(error, OSError) and error.filename:
        return f"{unusable(error)}; choose another place by data_dir=DIR, hydra.run.dir=DIR, or the path that you gave."
    return None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory did not suffice; of PyTorch's errors the text alone says so on a CPU."""
    texts = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


@contextmanager
def naming_setting(key: str) -> Iterator[None]:
    """Within it, arguments of the wrong type or out of range are settings inside this one."""
    try:
        yield
    except ValidationError as error:
        raise UserError(explain_validation(error, key)) from error


def explain_validation(error: ValidationError, key: str) -> str:
    """One sentence for values of the wrong type or out of range."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        # What follows the argument's name tells the types that would have been possible apart.
        name = ".".join(([key] if key else []) + [str(part) for part in problem["loc"][:1]])
        message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
        problems.setdefault(f"{name} is {problem['input']!r}", []).append(message)
    return "; ".join(f"{what}: {', or '.join(messages)}" for what, messages in problems.items()) + "."


def one_line(text: str) -> str:
    """The lines of a message as one, less those that speak of Hydra's inner workings."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))
