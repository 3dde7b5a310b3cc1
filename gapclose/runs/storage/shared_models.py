"""Models that are trained once and shared by runs: the baseline, and the policy of `init=policy`."""

import logging
import os
from contextlib import nullcontext, suppress
from pathlib import Path

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from gapclose.data.collect import hash_of
from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.files import is_there, remove_partial
from gapclose.locks import PathLock
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.models.world_model import LearnedWorldModel
from gapclose.processes import from_first, rank
from gapclose.training.checkpoint import load_weights, read_checkpoint
from gapclose.training.stage import Stage
from gapclose.user_code import code_named_in, code_of

log = logging.getLogger(__name__)


def shared_path(kind: str, groups: tuple[str, ...], config: DictConfig, simulator: Simulator) -> Path:
    """Returns the file of a shared model. Its name has a hash of all settings that determine the model.

    Args:
        kind: name of the folder of such models.
        groups: settings that determine the model, in addition to the simulator's.
        config: configuration of the run.
        simulator: simulator of the run.
    """
    parts = OmegaConf.to_container(config, resolve=True)
    determining = {name: parts[name] for name in groups}
    determining["data"].pop("folder")
    key = hash_of({"env": simulator.settings, **determining}, code_of(simulator) | code_named_in(determining))
    return Path(config.data_dir) / kind / f"{simulator.name}-{key}.ckpt"


def baseline_path(config: DictConfig, simulator: Simulator) -> Path:
    """Returns the file of the baseline of a run."""
    determining = ("data", "encoder", "model", "baseline", "trainer", "seed")
    return shared_path("baselines", determining, config, simulator)


def train_baseline(
    stage: Stage,
    world_model: LearnedWorldModel,
    trajectories: Trajectories,
    simulator: Simulator,
    config: DictConfig,
    logger: Logger | None,
) -> None:
    """Loads the weights of the baseline into the world model; trains it first if no earlier run has."""
    path = baseline_path(config, simulator)
    train_once(path, stage, world_model, "world_model", trajectories, config, config.seed, logger)


def train_policy(
    stage: Stage,
    policy: GoalConditionedPolicy,
    trajectories: Trajectories,
    simulator: Simulator,
    config: DictConfig,
    logger: Logger | None = None,
) -> None:
    """Loads the weights of `init=policy` into the policy; trains it first if no earlier run has."""
    path = shared_path("policies", ("data", "policy", "trainer"), config, simulator)
    train_once(path, stage, policy, "policy", trajectories, config, config.policy.seed, logger)


def train_once(
    path: Path,
    stage: Stage,
    model: LearnedWorldModel | GoalConditionedPolicy,
    name: str,
    trajectories: Trajectories,
    config: DictConfig,
    seed: int,
    logger: Logger | None,
) -> None:
    """Loads the weights in a file into the model; trains the model first if the file does not exist.

    If several runs need the model at the same time, one trains it and the others wait. If that run is killed, another
    resumes from its last epoch.

    Args:
        path: the file.
        stage: stage of training.
        model: a new model with its initial weights; it is changed in place.
        name: attribute of the LightningModule that holds the model.
        trajectories: collected data.
        config: configuration of the run.
        seed: seed of the training.
        logger: receives the metrics.

    Raises:
        UserError: the file is damaged.
    """
    # The processes of a distributed run train together; the first one holds the lock and decides for all of them. Where
    # the model exists there is nothing to lock, and the folder may be read-only.
    lock = nullcontext()
    if rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = PathLock(f"{path}.lock")
    with lock:
        if not from_first(lambda: is_there(path)):
            log.info("Training %s", path)
            model.fit_normalization(split(trajectories)[0])
            folder = path.with_suffix("")
            if rank() == 0:
                remove_partial(folder)
            stage.fit(model, trajectories, folder, config, seed, logger)
            if rank() == 0:
                os.replace(folder / "best.ckpt", path)
                (folder / "last.ckpt").unlink(missing_ok=True)
                with suppress(OSError):  # Not empty, or a link: what training did not write stays.
                    folder.rmdir()
            from_first(path.exists)  # The others wait for the file.
        else:
            log.info("Using %s", path)
    try:
        load_weights(model, read_checkpoint(path), path, name)
    except UserError as error:
        raise UserError(f"{error} Delete it, and the next run trains the model again.") from error
