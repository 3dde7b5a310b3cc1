"""The teacher-forced model that finetuning starts from: trained once for all runs that share it."""

import logging
import os
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gapclose.data.collect import key_of
from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.models.world_model import LearnedWorldModel
from gapclose.runs.checkpoint import load_weights, read_checkpoint
from gapclose.runs.stage import Stage

log = logging.getLogger(__name__)


def baseline_path(config: DictConfig, simulator: Simulator) -> Path:
    """The file of this configuration's baseline, named by everything that determines it."""
    parts = OmegaConf.to_container(config, resolve=True)
    determining = {name: parts[name] for name in ("data", "encoder", "model", "baseline", "trainer", "seed")}
    determining["data"].pop("folder")
    key = key_of({"env": simulator.settings, **determining})
    return Path(config.data_dir) / "baselines" / f"{simulator.name}-{key}.ckpt"


def train_baseline(
    stage: Stage,
    world_model: LearnedWorldModel,
    trajectories: Trajectories,
    simulator: Simulator,
    config: DictConfig,
    logger: Logger | None,
) -> None:
    """Puts the baseline's weights into the world model: those of an earlier run, or newly trained ones.

    Of several runs that ask at once, one trains and the others wait; if it is killed, another goes on from its last
    epoch.
    """
    path = baseline_path(config, simulator)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The processes of one distributed run train together; only the first holds the lock for them.
    lock = FileLock(f"{path}.lock") if rank_zero_only.rank == 0 else nullcontext()
    with lock:
        if not path.exists():
            log.info("Training the baseline %s", path)
            world_model.fit_normalization(split(trajectories)[0])
            folder = path.with_suffix("")
            stage.fit(world_model, trajectories, folder, config, logger)
            if rank_zero_only.rank == 0:
                os.replace(folder / "best.ckpt", path)
                for leftover in folder.iterdir():
                    leftover.unlink()
                folder.rmdir()
            if torch.distributed.is_initialized():
                torch.distributed.barrier()
        else:
            log.info("Using the baseline %s", path)
    load_weights(world_model, read_checkpoint(path), path)
