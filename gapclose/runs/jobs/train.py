"""The job of train.py: collects data, trains the baseline, finetunes it, and evaluates the models."""

import logging
import time
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from gapclose.command_lines import resuming_command
from gapclose.conf_files import unknown_targets
from gapclose.data.trajectories import Trajectories
from gapclose.errors import Interrupted
from gapclose.evaluation.metrics_file import write_metrics
from gapclose.explanation import naming_file
from gapclose.files import is_there
from gapclose.logging.recording import recording
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.overrides import key_of
from gapclose.processes import is_first_process
from gapclose.report.page import PAGE
from gapclose.report.record import PLANS
from gapclose.report.run import write_run_report
from gapclose.runs.jobs.distributed import follow, leading, processes
from gapclose.runs.jobs.final_evaluation import evaluate_and_save
from gapclose.runs.setup.evaluation import EvaluationEachEpoch
from gapclose.runs.setup.named_planners import compared_planner_groups, explorer_groups
from gapclose.runs.setup.optimized_metric import optimized_value
from gapclose.runs.setup.train_setup import TrainSetup
from gapclose.runs.storage.run_folder import (
    COMPARISON_SETTINGS,
    comparison_folder,
    has_all_results,
    require_same_config,
    run_lock,
    stored_config,
    stored_overrides,
)
from gapclose.runs.storage.shared_models import train_baseline

log = logging.getLogger(__name__)


def run(config: DictConfig, folder: Path) -> float | None:
    """Trains, finetunes and evaluates.

    Args:
        config: configuration of the run.
        folder: folder of the run.

    Returns:
        The value of `optimized_metric` for a search; `None` if the setting is null.
    """
    if not is_first_process(config):
        follow(config, train_models)
        return None
    with leading(config):
        return lead(config, folder)


def lead(config: DictConfig, folder: Path) -> float | None:
    """Does what `run` says, in the only or the first process of a run."""
    began = time.perf_counter()
    overrides = HydraConfig.get().overrides.task
    with naming_file(folder / "config.yaml") if "resume" in map(key_of, overrides) else nullcontext():
        if "explorer" not in config:  # With resume=DIR, the stored configuration has it.
            config.explorer = explorer_groups(config, overrides)
            config.compared = compared_planner_groups(config, overrides)
        setup = TrainSetup(config)
        for entry, comparison in setup.compared.items():
            stored_overrides(folder)
            subfolder = comparison_folder(folder, entry)
            if is_there(subfolder / "config.yaml"):
                require_same_config(stored_config(subfolder), comparison.config, subfolder)
    if has_all_results(folder, setup.compared):
        require_same_config(stored_config(folder), config, folder, COMPARISON_SETTINGS)
        log.info("The run in %s is finished already; delete the folder to run it again.", folder)
        complete_report(folder)
        return optimized_value(folder, config.get("optimized_metric"))
    with run_lock(folder, config, COMPARISON_SETTINGS):
        if has_all_results(folder, setup.compared):  # Another process has finished it meanwhile.
            log.info("The run in %s is finished already; delete the folder to run it again.", folder)
        else:
            try:
                train(setup, config, folder, began)
            except KeyboardInterrupt as error:
                raise Interrupted(f"Interrupted. Resume with: {go_on_command(folder, config)}") from error
        return optimized_value(folder, config.get("optimized_metric"))


def go_on_command(folder: Path, config: DictConfig) -> str:
    """Returns the command that goes on with this run: the original one if `resume=DIR` would refuse its classes."""
    refused = unknown_targets(OmegaConf.to_container(config), with_overrides=False)
    return resuming_command(folder, original=bool(refused))


def train(setup: TrainSetup, config: DictConfig, folder: Path, began: float) -> None:
    """Runs all stages with one logger for the whole run, and then writes metrics.json, which marks it as finished."""
    with recording(config, folder) as logger:
        with processes(config, folder, train_models):
            trained = run_stages(setup, config, folder, logger)
        models = {name: trained.models[name] for name in trained.models if name in setup.evaluation.models}
        metrics = evaluate_and_save(setup, config, folder, models, trained.trajectories, trained.history, logger, began)
    if metrics is not None:
        write_metrics(folder / "metrics.json", metrics)
    print(f"Everything is in {folder}.")


def train_models(config: DictConfig, folder: Path) -> None:
    """Trains the models of a run together with its first process, in another process of a distributed run."""
    run_stages(TrainSetup(config), config, folder, None)


class Trained(NamedTuple):
    """The models of a run, the data they were trained on, and the evaluations after each epoch of finetuning."""

    models: dict[str, WorldModel]
    trajectories: Trajectories
    history: list[dict[str, Any]]


def run_stages(setup: TrainSetup, config: DictConfig, folder: Path, logger: Logger | None) -> Trained:
    """Loads or collects the data, trains the baseline, and finetunes it, in each process of the run."""
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
    return Trained(models, trajectories, each_epoch.history)


def complete_report(folder: Path) -> None:
    """Writes the report of a finished run if it has none, as when the disk was full."""
    if not (folder / PAGE).exists() and (folder / PLANS).exists():
        log.info("Wrote %s, which was missing.", write_run_report(folder))
