"""The job of train.py: collects data, trains the baseline, finetunes it, and evaluates the models."""

import logging
import shlex
import time
from copy import deepcopy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from gapclose.errors import Interrupted
from gapclose.logging.recording import recording
from gapclose.models.oracle import OracleWorldModel
from gapclose.runs.jobs.final_evaluation import evaluate_and_save
from gapclose.runs.setup.evaluation import EvaluationEachEpoch
from gapclose.runs.setup.named_planners import compared_planner_groups, explorer_groups
from gapclose.runs.setup.optimized_metric import optimized_value
from gapclose.runs.setup.train_setup import TrainSetup
from gapclose.runs.storage.run_folder import (
    COMPARISON_SETTINGS,
    comparison_folder,
    config_and_folder,
    has_all_results,
    require_same_config,
    run_lock,
    stored_config,
)
from gapclose.runs.storage.shared_models import train_baseline

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Trains, finetunes and evaluates in the Hydra run directory, or in that of the run to resume.

    Returns:
        The value of `optimized_metric` for a search; `None` if the setting is null.
    """
    began = time.perf_counter()
    config, folder = config_and_folder(cfg)
    if "explorer" not in config:  # With resume=DIR, the stored configuration has it.
        overrides = HydraConfig.get().overrides.task
        config.explorer = explorer_groups(config, overrides)
        config.compared = compared_planner_groups(config, overrides)
    setup = TrainSetup(config)
    for entry, comparison in setup.compared.items():
        subfolder = comparison_folder(folder, entry)
        if (subfolder / "config.yaml").exists():
            require_same_config(stored_config(subfolder), comparison.config, subfolder)
    with run_lock(folder, config, COMPARISON_SETTINGS):
        if has_all_results(folder, setup.compared):
            log.info("The run in %s is finished already; delete the folder to run it again.", folder)
        else:
            try:
                train(setup, config, folder, began)
            except KeyboardInterrupt as error:
                command = f"python train.py {shlex.quote(f'resume={folder}')}"
                raise Interrupted(f"Interrupted. Resume with: {command}") from error
        return optimized_value(folder, config.get("optimized_metric"))


def train(setup: TrainSetup, config: DictConfig, folder: Path, began: float) -> None:
    """Runs all stages with one logger for the whole run."""
    with recording(config, folder) as logger:
        run_stages(setup, config, folder, logger, began)


def run_stages(setup: TrainSetup, config: DictConfig, folder: Path, logger: Logger | None, began: float) -> None:
    """Loads or collects the data, trains the baseline, finetunes it, and evaluates the models."""
    simulator, world_model = setup.parts.simulator, setup.world_model
    trajectories = setup.parts.data.load(simulator)
    setup.parts.train_policy(trajectories, config, logger)
    if setup.explorer is not setup.parts:
        setup.explorer.train_policy(trajectories, config, logger)
    for comparison in setup.compared.values():
        comparison.parts.train_policy(trajectories, config)
    if config.base_checkpoint is None:
        train_baseline(setup.baseline, world_model, trajectories, simulator, config, logger)
    models = {"baseline": deepcopy(world_model)}
    each_epoch = EvaluationEachEpoch(setup.evaluation, trajectories)
    if setup.finetune:
        callbacks = [setup.rollouts] if setup.rollouts else []
        if setup.evaluation.each_epoch:
            callbacks.append(each_epoch)
        setup.finetune.fit(world_model, trajectories, folder / "checkpoints", config, config.seed, logger, callbacks)
        models["finetuned"] = world_model
    models["oracle"] = OracleWorldModel(simulator)
    models = {name: model for name, model in models.items() if name in setup.evaluation.models}
    if rank_zero_only.rank == 0:
        evaluate_and_save(setup, config, folder, models, trajectories, each_epoch.history, logger, began)
