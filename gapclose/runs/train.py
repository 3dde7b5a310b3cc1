"""A run of train.py: expert data, baseline, finetuning, evaluation."""

import logging
import time
from copy import deepcopy
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.evaluation.gap import measure_gap
from gapclose.evaluation.plots import plot_epochs, plot_error_along_horizon, plot_plans
from gapclose.evaluation.report import print_table, published_rows, results_rows, what_changed, write_json
from gapclose.finetuning.planner_rollouts import PlannerRollouts
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.runs.baseline import train_baseline
from gapclose.runs.checkpoint import build_world_model, load_weights, read_checkpoint
from gapclose.runs.entry import Interrupted
from gapclose.runs.folder import settle
from gapclose.runs.logging import log_results
from gapclose.runs.parts import Parts, check_run, pick_device
from gapclose.runs.stage import Stage
from gapclose.seeds import derive_seed, generator

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Trains, finetunes and evaluates as configured, in the Hydra run directory."""
    config, folder = settle(cfg)
    if (folder / "metrics.json").exists():
        log.info("%s is finished already; delete the folder to run it again.", folder)
        return
    try:
        train(config, folder)
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning turns Ctrl-C into SystemExit.
        raise Interrupted(f"Interrupted. Go on with: python train.py resume={folder}") from error


def train(config: DictConfig, folder: Path) -> None:
    """The run itself, up to metrics.json."""
    began = time.perf_counter()
    parts = Parts.build(config)
    simulator, settings = parts.simulator, config.evaluation
    check_run(seed=config.seed, num_threads=config.num_threads, num_tasks=settings.num_tasks, task_seed=settings.seed)
    device = pick_device(settings.device)
    if config.choices.model == "oracle":
        raise UserError("model=oracle has nothing to train; plan with it by python plan.py model=oracle.")
    baseline: Stage = instantiate(config.baseline)
    finetune: Stage | None = instantiate(config.finetune)
    rollouts: PlannerRollouts | None = None
    if finetune and finetune.rollouts:
        rollouts = finetune.rollouts(
            simulator=simulator,
            planner=parts.mpc.planner,
            objective=parts.objective,
            replay=finetune.replay,
            seed=config.seed,
        )
    instantiate(config.trainer, logger=False)  # Refuses what this machine lacks, before any work is done.
    torch.manual_seed(derive_seed(config.seed, "initial weights"))
    world_model = build_world_model(config, simulator)
    if config.base_checkpoint is not None:
        load_weights(world_model, read_checkpoint(config.base_checkpoint), config.base_checkpoint)

    trajectories = parts.data.load(simulator)
    logger: Logger | None = instantiate(config.logger, save_dir=str(folder))
    if logger:
        logger.log_hyperparams(OmegaConf.to_container(config))
    if config.base_checkpoint is None:
        train_baseline(baseline, world_model, trajectories, simulator, config, logger)
    models = {"baseline": deepcopy(world_model)}
    if finetune:
        finetune.fit(world_model, trajectories, folder / "checkpoints", config, logger, rollouts)
        models["finetuned"] = world_model
    models["oracle"] = OracleWorldModel(simulator)
    if rank_zero_only.rank == 0:
        history = rollouts.history if rollouts else []
        conclude(config, folder, parts, models, device, trajectories, history, logger, began)


def conclude(
    config: DictConfig,
    folder: Path,
    parts: Parts,
    models: dict[str, WorldModel],
    device: torch.device,
    trajectories: Trajectories,
    history: list[dict[str, float]],
    logger: Logger | None,
    began: float,
) -> None:
    """Evaluates the models on held-out tasks and writes metrics, table and pictures."""
    simulator, settings = parts.simulator, config.evaluation
    tasks = simulator.sample_tasks(settings.num_tasks, generator(settings.seed, "evaluation tasks"))
    *_, test = split(trajectories)
    tasks, test = (type(x)(*(tensor.to(device) for tensor in x)) for x in (tasks, test))
    gaps, executions = {}, {}
    for name, model in models.items():
        log.info("Evaluating: %s", name)
        gaps[name], executions[name] = measure_gap(
            model.to(device), parts.mpc, simulator, parts.objective, tasks, test, settings.seed, config.choices.planner
        )
    metrics = {
        "env": config.choices.env,
        "model": config.choices.model,
        "finetune": config.choices.finetune,
        "seed": config.seed,
        "wall_clock_seconds": time.perf_counter() - began,
        **gaps,
    }
    open_loop = {name: executions[name]["open_loop"] for name in models if name != "oracle"}
    pictures = [
        plot_plans(open_loop, simulator, folder / "plans.png"),
        plot_error_along_horizon(open_loop, gaps["baseline"]["expert_error"], folder / "error_along_horizon.png"),
    ]
    if history:
        metrics["rollouts"] = history
        held_out = [gaps[name]["open_loop"] for name in ("baseline", "finetuned")]
        pictures.append(plot_epochs(history, held_out, folder / "finetuning_epochs.png"))
    rows = results_rows(gaps)
    if config.published is not None:
        metrics["published"] = OmegaConf.to_container(config.published)
        rows += published_rows(metrics["published"])
    log_results(logger, metrics, rows, pictures)
    write_json(folder / "metrics.json", metrics)
    print_table(rows, f"{metrics['env']}, {settings.num_tasks} held-out tasks, planner {config.choices.planner}")
    print(what_changed(metrics))
    print(f"Everything is in {folder}.")
