"""A run of train.py: data, baseline, finetuning, evaluation."""

import logging
import time
from copy import deepcopy
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.evaluation.gap import HeldOut, measure_gap
from gapclose.evaluation.outcomes import outcomes, write_outcomes
from gapclose.evaluation.plots import plot_epochs, plot_error_along_horizon, plot_plans
from gapclose.evaluation.report import print_table, published_rows, results_rows, what_changed, write_json
from gapclose.finetuning.planner_rollouts import PlannerRollouts
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.runs.checkpoint import build_world_model, load_weights, read_checkpoint
from gapclose.runs.entry import Interrupted
from gapclose.runs.folder import claim, settle
from gapclose.runs.logging import log_results
from gapclose.runs.parts import Parts, check_run, pick_device
from gapclose.runs.shared import train_baseline
from gapclose.runs.stage import Stage
from gapclose.seeds import derive_seed, generator

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Trains, finetunes and evaluates as configured, in the Hydra run directory."""
    began = time.perf_counter()
    config, folder = settle(cfg)
    plan = Preparation(config)
    with claim(folder, config):
        if (folder / "metrics.json").exists():
            log.info("%s is finished already; delete the folder to run it again.", folder)
            return
        try:
            train(plan, config, folder, began)
        except KeyboardInterrupt as error:
            raise Interrupted(f"Interrupted. Go on with: python train.py resume={folder}") from error


class Preparation:
    """All objects of a run, made before any work starts, so that impossible settings are refused at once.

    Args:
        config: of the run.

    Raises:
        UserError: for what is wrong with it.
    """

    def __init__(self, config: DictConfig) -> None:
        self.parts = Parts.build(config)
        settings = config.evaluation
        check_run(
            seed=config.seed, num_threads=config.num_threads, num_tasks=settings.num_tasks, task_seed=settings.seed
        )
        self.device = pick_device(settings.device)
        if config.choices.model == "oracle":
            raise UserError("model=oracle has nothing to train; plan with it by python plan.py model=oracle.")
        torch.manual_seed(derive_seed(config.seed, "initial weights"))
        self.world_model = build_world_model(config, self.parts.simulator)
        self.parts.objective.require(self.world_model)
        if config.base_checkpoint is not None:
            load_weights(self.world_model, read_checkpoint(config.base_checkpoint), config.base_checkpoint)
        self.baseline: Stage = instantiate(config.baseline)
        self.finetune: Stage | None = instantiate(config.finetune)
        self.rollouts: PlannerRollouts | None = None
        for stage in filter(None, (self.baseline, self.finetune)):
            stage.check(self.world_model, config)
        if self.finetune and self.finetune.rollouts:
            self.rollouts = self.finetune.rollouts(
                simulator=self.parts.simulator,
                planner=self.parts.mpc.planner,
                objective=self.parts.objective,
                replay=self.finetune.replay,
                seed=config.seed,
            )


def train(plan: Preparation, config: DictConfig, folder: Path, began: float) -> None:
    """The run itself, up to metrics.json."""
    simulator, world_model = plan.parts.simulator, plan.world_model
    trajectories = plan.parts.data.load(simulator)
    logger: Logger | None = instantiate(config.logger, save_dir=str(folder))
    if logger:
        logger.log_hyperparams(OmegaConf.to_container(config))
    plan.parts.train_policy(trajectories, config, logger)
    if config.base_checkpoint is None:
        train_baseline(plan.baseline, world_model, trajectories, simulator, config, logger)
    models = {"baseline": deepcopy(world_model)}
    if plan.finetune:
        checkpoints = folder / "checkpoints"
        plan.finetune.fit(world_model, trajectories, checkpoints, config, config.seed, logger, plan.rollouts)
        models["finetuned"] = world_model
    models["oracle"] = OracleWorldModel(simulator)
    if rank_zero_only.rank == 0:
        conclude(plan, config, folder, models, trajectories, logger, began)


def conclude(
    plan: Preparation,
    config: DictConfig,
    folder: Path,
    models: dict[str, WorldModel],
    trajectories: Trajectories,
    logger: Logger | None,
    began: float,
) -> None:
    """Evaluates the models on held-out tasks and writes metrics, table and pictures."""
    simulator, settings, device = plan.parts.simulator, config.evaluation, plan.device
    tasks = simulator.sample_tasks(settings.num_tasks, generator(settings.seed, "evaluation tasks"))
    held_out = HeldOut.of(tasks, trajectories, device)
    gaps, executions = {}, {}
    for name, model in models.items():
        log.info("Evaluating: %s", name)
        model, objective = model.to(device), plan.parts.objective
        if name == "oracle":  # It has no members that could disagree.
            objective = objective.without("disagreement")
        elif config.compile:
            model.compile_step()
        gaps[name], executions[name] = measure_gap(
            model,
            plan.parts.mpc,
            simulator,
            objective,
            held_out,
            settings.seed,
            config.choices.planner,
        )
    history = plan.rollouts.history if plan.rollouts else []
    metrics = {
        "env": config.choices.env,
        "data": config.choices.data,
        "model": config.choices.model,
        "finetune": config.choices.finetune,
        "seed": config.seed,
        "wall_clock_seconds": time.perf_counter() - began,
        **gaps,
    }
    if history:
        metrics["rollouts"] = history
    rows = results_rows(gaps)
    if config.published is not None:
        metrics["published"] = OmegaConf.to_container(config.published)
        rows += published_rows(metrics["published"])
    write_outcomes(folder / "tasks.csv", outcomes(executions, simulator))
    open_loop = {name: executions[name]["open_loop"] for name in models if name != "oracle"}
    pictures = [
        plot_plans(open_loop, simulator, folder / "plans.png"),
        plot_error_along_horizon(open_loop, gaps["baseline"]["expert_error"], folder / "error_along_horizon.png"),
    ]
    if history:
        held_out = [gaps[name]["open_loop"] for name in ("baseline", "finetuned")]
        pictures.append(plot_epochs(history, held_out, folder / "finetuning_epochs.png"))
    # metrics.json marks the run as finished; the logger may still fail, for want of a network.
    write_json(folder / "metrics.json", metrics)
    print_table(rows, f"{metrics['env']}, {settings.num_tasks} held-out tasks, planner {config.choices.planner}")
    print(what_changed(metrics))
    print(f"Everything is in {folder}.")
    log_results(logger, metrics, rows, pictures)
