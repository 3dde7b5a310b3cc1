"""Turns errors of Hydra, pydantic, PyTorch and the file system that a user can fix into one sentence."""

import errno
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from gapclose.errors import UserError, describe_file_error

PLUGINS = {
    "'hydra/launcher/joblib'": "sweeps",
    "'hydra/launcher/submitit_": "sweeps",
    "'hydra/sweeper/optuna'": "sweeps",
    "'hydra_plugins.hydra_ray_launcher.": "ray",
}
"""Text in Hydra's message when a plugin is missing, and the extra of gapclose that installs the plugin."""


REFUSALS = {
    errno.ENOSPC: "free space on the disks of data_dir, of the run's folder and of temporary files (TMPDIR)",
    errno.EDQUOT: "free space in data_dir, in the run's folder and in the folder of temporary files (TMPDIR)",
    errno.ENOLCK: "choose a folder on another file system, as this one has no locks",
    errno.EMFILE: "allow more open files (ulimit -n), or use fewer workers (num_workers)",
    errno.ENFILE: "close other programs, as too many files are open on this machine",
    errno.EAGAIN: "allow more processes (ulimit -u), or use fewer workers (num_workers)",
}
"""What to do about errors of the system that name no file, by their number."""


def explain(error: BaseException) -> str | None:
    """Returns one sentence for an error that a user can fix, and `None` for a defect of the program."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error) or is_out_of_memory(error.__cause__):
        requested = re.search(r"allocate ([\d.]+ \w+)", str(error))
        return (
            f"There is not enough memory{f' ({requested[1]} were requested at once)' if requested else ''}; reduce "
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
    for plugin, extra in PLUGINS.items():
        if plugin in text:
            return (
                "This needs a plugin of Hydra that is not installed; install it with pip install 'gapclose[EXTRA]', or "
                "in a checkout with pip install -e '.[EXTRA]'."
            ).replace("EXTRA", extra)
    if isinstance(error, OverrideParseException):
        reason = one_line(text.partition("See https://hydra.cc")[0]).rstrip(".")
        return f"{error.override} cannot be read ({reason}); quote a value with special characters: 'NAME=\"VALUE\"'."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        for internals in ("Config search path", "See https://hydra.cc", "To append to your config use"):
            text = text.partition(internals)[0]
        advice = " --help lists all groups and settings." if text.startswith("Could not override") else ""
        return one_line(text) + advice
    if is_unwritable_log(error):
        return explain(error.__cause__)
    if isinstance(error, OSError) and not error.filename:
        return explain_refusal(error)
    if isinstance(error, OSError):
        room = "free space there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return (
            f"{describe_file_error(error)}; {room}choose another path with data_dir=DIR or hydra.run.dir=DIR, or "
            "correct the path that you gave."
        )
    return None


def explain_refusal(error: OSError) -> str | None:
    """Returns one sentence for a request that the system refused without naming a file; `None` for other errors."""
    if "AF_UNIX path too long" in str(error):
        return (
            f"The folder for temporary files, {tempfile.gettempdir()}, has a longer path than worker processes can "
            "use; set a shorter one, such as TMPDIR=/tmp."
        )
    advice = REFUSALS.get(error.errno)
    return advice and f"The system refused a request ({error.strerror}); {advice}."


def is_unwritable_log(error: BaseException) -> bool:
    """Whether Hydra cannot write the log of a run; its own message does not say where."""
    return isinstance(error, ValueError) and isinstance(error.__cause__, OSError) and "configure handler" in str(error)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out. On a CPU, PyTorch raises a plain `RuntimeError`, so its text is searched."""
    texts = ("can't allocate memory", "out of memory")
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in texts))
    )


@contextmanager
def naming_setting(key: str) -> Iterator[None]:
    """Raises a validation error in this context as a `UserError` whose settings are named relative to `key`."""
    try:
        yield
    except ValidationError as error:
        raise UserError(explain_validation(error, key)) from error


@contextmanager
def naming_file(path: str | Path, given: Sequence[str] = ()) -> Iterator[None]:
    """Raises errors in this context as a `UserError` about the configuration in the file.

    For objects that are built from a stored configuration, which may have any content. Errors that are explained
    already, and name the file or a setting of the command line, are left as they are.

    Args:
        path: the file.
        given: keys of the settings of the command line.
    """
    try:
        yield
    except Exception as error:
        sentence = explain(error)
        if sentence is not None:
            if str(path) in sentence or any(key in sentence for key in given):
                raise
            raise UserError(f"{sentence.rstrip('.')}, with the configuration in {path}.") from error
        reason = f"{type(error).__name__}: {one_line(str(error))[:200]}"
        raise UserError(
            f"The configuration in {path} cannot be used ({reason}); give a file that this version of train.py wrote."
        ) from error


def explain_validation(error: ValidationError, key: str) -> str:
    """Returns one sentence for values of the wrong type or out of range.

    Args:
        error: the error.
        key: config key of the object whose arguments are wrong; empty if unknown.
    """
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        # Only the argument's name is kept; pydantic adds the member of the union type that it tried.
        name = ".".join(([key] if key else []) + [str(part) for part in problem["loc"][:1]])
        message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
        # A missing argument has no value of its own; pydantic gives all others.
        given = "missing" if problem["type"].startswith("missing") else f"{problem['input']!r:.100}"
        problems.setdefault(f"{name} is {given}", []).append(message)
    phrases = [f"{what}: {', or '.join(messages)}" for what, messages in problems.items()]
    return "; ".join(phrases[:3]) + (f"; and {len(phrases) - 3} more" if len(phrases) > 3 else "") + "."


def one_line(text: str) -> str:
    """Joins the lines of a message into one, without the lines about Hydra's internals."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))
