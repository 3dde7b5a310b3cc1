"""A run of train.py: data, baseline, finetuning, evaluation."""

import logging
import shlex
import time
from copy import deepcopy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gapclose.logging.recording import recording
from gapclose.models.oracle import OracleWorldModel
from gapclose.runs.composition import explorer_groups, rival_groups
from gapclose.runs.conclusion import conclude
from gapclose.runs.entry import Interrupted
from gapclose.runs.evaluation import EvaluationEachEpoch
from gapclose.runs.folder import FURTHER, claim, require_same, rival_folder, settle, unmeasured
from gapclose.runs.preparation import Preparation
from gapclose.runs.search import optimized_value
from gapclose.runs.shared import train_baseline

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Trains, finetunes and evaluates as configured, in the Hydra run directory.

    Returns:
        The metric that the setting `optimized_metric` names, for sweeps that search.
    """
    began = time.perf_counter()
    config, folder = settle(cfg)
    if "explorer" not in config:  # A run that is resumed by its folder has it from the command that started it.
        overrides = HydraConfig.get().overrides.task
        config.explorer, config.rivals = explorer_groups(config, overrides), rival_groups(config, overrides)
    plan = Preparation(config)
    for entry, rival in plan.rivals.items():
        stored = rival_folder(folder, entry) / "config.yaml"
        if stored.exists():
            require_same(OmegaConf.load(stored), rival.config, stored.parent)
    with claim(folder, config, FURTHER):
        if (folder / "metrics.json").exists() and not unmeasured(folder, plan.rivals):
            log.info("%s is finished already; delete the folder to run it again.", folder)
        else:
            try:
                train(plan, config, folder, began)
            except KeyboardInterrupt as error:
                command = f"python train.py {shlex.quote(f'resume={folder}')}"
                raise Interrupted(f"Interrupted. Go on with: {command}") from error
        return optimized_value(folder, config.get("optimized_metric"))


def train(plan: Preparation, config: DictConfig, folder: Path, began: float) -> None:
    """The run itself, up to metrics.json, under the eyes of its logger."""
    with recording(config, folder) as logger:
        work(plan, config, folder, logger, began)


def work(plan: Preparation, config: DictConfig, folder: Path, logger: Logger | None, began: float) -> None:
    """Data, baseline, finetuning, evaluation."""
    simulator, world_model = plan.parts.simulator, plan.world_model
    trajectories = plan.parts.data.load(simulator)
    plan.parts.train_policy(trajectories, config, logger)
    if plan.explorer is not plan.parts:
        plan.explorer.train_policy(trajectories, config, logger)
    for rival in plan.rivals.values():
        rival.parts.train_policy(trajectories, config)
    if config.base_checkpoint is None:
        train_baseline(plan.baseline, world_model, trajectories, simulator, config, logger)
    models = {"baseline": deepcopy(world_model)}
    each_epoch = EvaluationEachEpoch(plan.evaluation, trajectories)
    if plan.finetune:
        callbacks = [plan.rollouts] if plan.rollouts else []
        if plan.evaluation.each_epoch:
            callbacks.append(each_epoch)
        plan.finetune.fit(world_model, trajectories, folder / "checkpoints", config, config.seed, logger, callbacks)
        models["finetuned"] = world_model
    models["oracle"] = OracleWorldModel(simulator)
    models = {name: model for name, model in models.items() if name in plan.evaluation.models}
    if rank_zero_only.rank == 0:
        conclude(plan, config, folder, models, trajectories, each_epoch.history, logger, began)
