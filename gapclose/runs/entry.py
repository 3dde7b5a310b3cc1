"""What the command-line entry points share: the configuration folder, and errors in one sentence."""

import logging
import os
import sys
import warnings
from datetime import datetime
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

import gapclose
from gapclose.errors import UserError


class Interrupted(BaseException):
    """A run was stopped from outside; says how to go on with it."""


def conf_dir() -> Path:
    """The folder of the Hydra configuration: inside the installed package, or beside it in a checkout."""
    package = Path(gapclose.__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def run_dir(resume: str | None) -> str:
    """The Hydra run directory: that of the run to resume, or a new one named by time and process."""
    if resume is not None and (Path(resume) / "config.yaml").is_file():
        return resume
    return f"outputs/{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}"


OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)


def train() -> None:
    """`python train.py` and `gapclose-train`."""
    launch("train")


def plan() -> None:
    """`python plan.py` and `gapclose-plan`."""
    launch("plan")


def diagnose() -> None:
    """`python -m gapclose.diagnose` and `gapclose-diagnose`."""
    launch("diagnose")


def launch(name: str) -> None:
    """Composes the configuration `name` from the command line and runs `gapclose.runs.<name>` on it.

    What a user can put right is printed as one sentence, and the exit code is 1; Ctrl-C exits with 130.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the sentence is ours.
    # What Lightning says at every start is nothing that a user could act on.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*is deprecated",
        ".*smaller than the logging interval",
        "Checkpoint directory .* exists",
    ):
        warnings.filterwarnings("ignore", message=message)
    composed = False

    def job(cfg: DictConfig) -> None:
        nonlocal composed
        composed = True
        try:
            # Imported only now: --help and a misspelt setting are answered at once.
            import_module(f"gapclose.runs.{name}").run(cfg)
        except Exception as error:
            # In a multirun Hydra collects the errors and goes on with the other jobs.
            if HydraConfig.get().mode == RunMode.MULTIRUN or explain(error) is None:
                raise
            fail(explain(error))

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = explain(error)
        if composed and sentence is None:
            raise
        # What Hydra cannot make a configuration of is the command line's fault, whatever the error's type.
        fail(sentence or one_line(str(error)))


def fail(sentence: str) -> None:
    """Prints the sentence and exits with code 1."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(1)


def explain(error: BaseException) -> str | None:
    """The sentence for an error that a user can put right; none for a defect of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, InstantiationException):
        key = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else ""
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            return explain_validation(cause, key)
        return str(cause) if isinstance(cause, UserError) else f"{key}: {one_line(str(cause))}"
    if isinstance(error, ValidationError):
        return explain_validation(error, "")
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        text = str(error)
        for inner_workings in ("Config search path", "See https://hydra.cc", "To append to your config use"):
            text = text.partition(inner_workings)[0]
        return one_line(text)
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} cannot be used ({error.strerror}); choose another place by data_dir=DIR, "
            "hydra.run.dir=DIR, or the path that you gave."
        )
    return None


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
