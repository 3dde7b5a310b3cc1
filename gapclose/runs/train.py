"""A run of train.py: data, baseline, finetuning, evaluation."""

import logging
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.evaluation.outcomes import outcomes, write_outcomes
from gapclose.evaluation.paired import compare_models, entries, in_words
from gapclose.evaluation.plots import plot_epochs, plot_error_along_horizon, plot_plans
from gapclose.evaluation.report import print_table, published_rows, results_rows, what_changed, write_json
from gapclose.finetuning.planner_rollouts import PlannerRollouts
from gapclose.logging.recording import log_results, recording
from gapclose.logging.results import Files, Results
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution
from gapclose.report.maps import make_maps
from gapclose.report.record import MAPS, PLANS, write_arrays, write_plans
from gapclose.report.run import write_run_report
from gapclose.runs.checkpoint import build_world_model, load_weights, read_checkpoint
from gapclose.runs.composition import EXPLORER_SETTING, blaming, explorer_groups, with_groups
from gapclose.runs.entry import Interrupted
from gapclose.runs.evaluation import Evaluation, EvaluationEachEpoch
from gapclose.runs.folder import claim, settle
from gapclose.runs.parts import Parts, check_run
from gapclose.runs.search import check_metric, optimized_value
from gapclose.runs.shared import baseline_path, train_baseline
from gapclose.runs.stage import Stage
from gapclose.runs.versions import made_with
from gapclose.seeds import derive_seed

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Trains, finetunes and evaluates as configured, in the Hydra run directory.

    Returns:
        The metric that the setting `optimized_metric` names, for sweeps that search.
    """
    began = time.perf_counter()
    config, folder = settle(cfg)
    if "explorer" not in config:  # A run that is resumed by its folder has it from the command that started it.
        config.explorer = explorer_groups(config, HydraConfig.get().overrides.task)
    plan = Preparation(config)
    with claim(folder, config):
        if (folder / "metrics.json").exists():
            log.info("%s is finished already; delete the folder to run it again.", folder)
        else:
            try:
                train(plan, config, folder, began)
            except KeyboardInterrupt as error:
                raise Interrupted(f"Interrupted. Go on with: python train.py resume={folder}") from error
        return optimized_value(folder, config.get("optimized_metric"))


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
        self.evaluation = Evaluation(
            simulator=self.parts.simulator,
            mpc=self.parts.mpc,
            objective=self.parts.objective,
            planner_name=config.choices.planner,
            **OmegaConf.to_container(settings),
        )
        if config.choices.model == "oracle":
            raise UserError("model=oracle has nothing to train; plan with it by python plan.py model=oracle.")
        torch.manual_seed(derive_seed(config.seed, "initial weights"))
        self.world_model = build_world_model(config, self.parts.simulator)
        self.parts.objective.require(self.world_model)
        if config.base_checkpoint is not None:
            load_weights(self.world_model, read_checkpoint(config.base_checkpoint), config.base_checkpoint)
        self.baseline: Stage = instantiate(config.baseline)
        self.finetune: Stage | None = instantiate(config.finetune)
        for stage in filter(None, (self.baseline, self.finetune)):
            stage.check(self.world_model, config)
        if not self.finetune and set(self.evaluation.models) == {"finetuned"}:
            raise UserError(
                "evaluation.models is [finetuned], but finetune=none leaves no such model; add baseline or oracle."
            )
        check_metric(config.get("optimized_metric"), self.evaluation.possible_metrics(finetuned=bool(self.finetune)))
        self.explorer = self.parts
        """The parts whose planner makes the rollouts."""
        if config.explorer is not None:
            with blaming(EXPLORER_SETTING, config.finetune.rollouts.planner):
                self.explorer = Parts.build(with_groups(config, config.explorer))
                self.explorer.objective.require(self.world_model)
        self.rollouts: PlannerRollouts | None = None
        if self.finetune:
            self.rollouts = self.finetune.make_rollouts(
                config.data.steps,
                simulator=self.parts.simulator,
                planner=self.explorer.planner,
                objective=self.explorer.objective,
                seed=config.seed,
            )


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


def conclude(
    plan: Preparation,
    config: DictConfig,
    folder: Path,
    models: dict[str, WorldModel],
    trajectories: Trajectories,
    by_epoch: list[dict[str, Any]],
    logger: Logger | None,
    began: float,
) -> None:
    """Evaluates the models on held-out tasks and writes metrics, table and pictures."""
    evaluation = plan.evaluation
    gaps, executions = {}, {}
    for name, model in models.items():
        log.info("Evaluating: %s", name)
        model = model.to(evaluation.device)
        if config.compile and name != "oracle":
            model.compile_step()
        gaps[name], executions[name] = evaluation.measure(model, trajectories, evaluation.device)
    metrics = {
        "env": config.choices.env,
        "data": config.choices.data,
        "model": config.choices.model,
        "finetune": config.choices.finetune,
        "seed": config.seed,
        "wall_clock_seconds": time.perf_counter() - began,
        **made_with(),
        **gaps,
    }
    if plan.finetune:
        metrics["gradient_steps"] = plan.finetune.gradient_steps
    if plan.rollouts:
        metrics |= {"simulator_steps": plan.rollouts.simulator_steps, "rollouts": plan.rollouts.history}
    if by_epoch:
        metrics["each_epoch"] = by_epoch
    rows = results_rows(gaps)
    if config.published is not None:
        metrics["published"] = OmegaConf.to_container(config.published)
        rows += published_rows(metrics["published"])
    of_tasks = outcomes(executions, plan.parts.simulator)
    write_outcomes(folder / "tasks.csv", of_tasks)
    write_plans(folder / PLANS, executions, plan.parts.simulator)
    if compared := compare_models(of_tasks, "finetuned", "baseline"):
        metrics["paired"] = entries(compared)
    pictures = draw(plan, metrics, executions, folder)
    # metrics.json marks the run as finished; the logger may still fail, for want of a network.
    write_json(folder / "metrics.json", metrics)
    title = f"{metrics['env']}, {len(evaluation.tasks.start)} held-out tasks, planner {config.choices.planner}"
    print_table(rows, title)
    print(what_changed(metrics))
    if compared:
        by_column = compared["open_loop"]
        sentence = in_words("finetuned", "baseline", by_column["success"], by_column["world_model_error"])
        print(f"Open loop, {sentence}")
    leave_report(plan, models, executions, folder)
    print(f"Everything is in {folder}.")
    epochs = plan.finetune.epochs if plan.finetune else 0
    files, simulator = files_of(plan, config, folder), plan.parts.simulator
    log_results(logger, Results(metrics, gaps, rows, of_tasks, executions, epochs, pictures, files, simulator))


def files_of(plan: Preparation, config: DictConfig, folder: Path) -> Files:
    """Where the run's data and models lie."""
    simulator = plan.parts.simulator
    baseline = Path(config.base_checkpoint) if config.base_checkpoint else baseline_path(config, simulator)
    return Files(plan.parts.data.path(simulator), baseline, folder / "checkpoints/last.ckpt" if plan.finetune else None)


def leave_report(
    plan: Preparation,
    models: dict[str, WorldModel],
    executions: dict[str, dict[str, Execution]],
    folder: Path,
) -> None:
    """Writes report.html, and what it shows beyond the plans; should that fail, the run is finished all the same."""
    evaluation = plan.evaluation
    try:
        maps = make_maps(models, executions, evaluation.simulator, evaluation.objective, evaluation.seed)
        write_arrays(folder / MAPS, maps)
        write_run_report(folder)
    except Exception as error:
        log.warning(
            "The run is finished, but its report could not be written (%s: %s); try python -m gapclose.report %s.",
            type(error).__name__,
            error,
            folder,
        )


def draw(
    plan: Preparation, metrics: dict[str, Any], executions: dict[str, dict[str, Execution]], folder: Path
) -> list[Path]:
    """The pictures of what there is: learned models' plans and errors (else the oracle's plans), and the epochs."""
    open_loop = {name: ways["open_loop"] for name, ways in executions.items()}
    learned = {name: execution for name, execution in open_loop.items() if name != "oracle"}
    pictures = [plot_plans(learned or open_loop, plan.parts.simulator, folder / "plans.png")]
    if learned:
        first = next(iter(learned))
        error, path = metrics[first]["expert_error"], folder / "error_along_horizon.png"
        pictures.append(plot_error_along_horizon(learned, error, path, first))
    history, by_epoch = metrics.get("rollouts", []), metrics.get("each_epoch", [])
    if history or by_epoch:
        ends = {0: metrics.get("baseline"), plan.finetune.epochs: metrics.get("finetuned")}
        measured = {epoch: gap for epoch, gap in ends.items() if gap} | {entry["epoch"]: entry for entry in by_epoch}
        held_out = [{"epoch": epoch, **measured[epoch]["open_loop"]} for epoch in sorted(measured)]
        pictures.append(plot_epochs(history, held_out, folder / "finetuning_epochs.png"))
    return pictures
