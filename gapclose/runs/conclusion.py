"""The end of a run of train.py: its models are measured, and what was found is left in its folder."""

import logging
import shlex
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from gapclose.data.trajectories import Trajectories
from gapclose.evaluation.outcomes import outcomes, write_outcomes
from gapclose.evaluation.paired import compare_models, entries, in_words
from gapclose.evaluation.plots import plot_epochs, plot_error_along_horizon, plot_plans
from gapclose.evaluation.report import (
    held_out_by_epoch,
    print_table,
    published_rows,
    results_rows,
    what_changed,
    write_json,
)
from gapclose.logging.recording import log_results
from gapclose.logging.results import Files, Results
from gapclose.models.world_model import WorldModel
from gapclose.overrides import key_of
from gapclose.planning.execution import Execution
from gapclose.report.maps import make_maps
from gapclose.report.record import MAPS, PLANS, write_arrays, write_plans
from gapclose.report.run import write_run_report
from gapclose.runs.evaluation import Evaluation
from gapclose.runs.folder import as_settings, rival_folder, unmeasured
from gapclose.runs.preparation import Preparation
from gapclose.runs.shared import baseline_path
from gapclose.runs.versions import made_with

log = logging.getLogger(__name__)

Executions = dict[str, dict[str, Execution]]
"""By model and way to execute."""


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
    """Evaluates the models on held-out tasks and writes metrics, table, pictures and report.

    With each planner of `compare` it does so, too, in a folder below that of the run: as a run with that planner would
    have left it that has trained the same models. A run that has finished is only evaluated with those that are new.

    `wall_clock_seconds` counts from `began`, of a run that was interrupted since it last went on.
    """
    for name, model in models.items():
        model.to(plan.evaluation.device)
        if config.compile and name != "oracle":
            model.compile_step()
    for entry in unmeasured(folder, plan.rivals):
        own, rival = rival_folder(folder, entry), plan.rivals[entry]
        leave_overrides(entry, folder, own)
        OmegaConf.save(rival.config, own / "config.yaml")
        possible = {name: model for name, model in models.items() if name in rival.evaluation.models}
        leave_results(plan, rival.evaluation, rival.config, own, possible, trajectories, [], began)
    if not (folder / "metrics.json").exists():
        results = leave_results(plan, plan.evaluation, config, folder, models, trajectories, by_epoch, began)
        log_results(logger, results)
    print(f"Everything is in {folder}.")


def leave_results(
    plan: Preparation,
    evaluation: Evaluation,
    config: DictConfig,
    folder: Path,
    models: dict[str, WorldModel],
    trajectories: Trajectories,
    by_epoch: list[dict[str, Any]],
    began: float,
) -> Results:
    """What `conclude` does for one planner."""
    simulator = evaluation.simulator
    gaps, executions = {}, {}
    for name, model in models.items():
        log.info("Evaluating: %s, %s", name, evaluation.planner_name)
        gaps[name], executions[name] = evaluation.measure(model, trajectories, evaluation.device)
    of_tasks = outcomes(executions, simulator)
    compared = compare_models(of_tasks, "finetuned", "baseline")
    metrics = {
        "env": config.choices.env,
        "data": config.choices.data,
        "model": config.choices.model,
        "finetune": config.choices.finetune,
        "seed": config.seed,
        "wall_clock_seconds": time.perf_counter() - began,
        **made_with(),
        **gaps,
        **extent(plan),
        **({"each_epoch": by_epoch} if by_epoch else {}),
        **({"published": OmegaConf.to_container(config.published)} if config.published is not None else {}),
        **({"paired": entries(compared)} if compared else {}),
    }
    write_outcomes(folder / "tasks.csv", of_tasks)
    write_plans(folder / PLANS, executions, simulator)
    pictures = draw(plan, metrics, executions, folder)
    # metrics.json marks the run as finished; report and logger may still fail, the one for want of a network.
    write_json(folder / "metrics.json", metrics)
    rows = results_rows(gaps) + published_rows(metrics.get("published", {}))
    print_table(
        rows, f"{metrics['env']}, {len(evaluation.tasks.start)} held-out tasks, planner {config.choices.planner}"
    )
    print(what_changed(metrics))
    if compared:
        by_column = compared["open_loop"]
        sentence = in_words("finetuned", "baseline", by_column["success"], by_column["world_model_error"])
        print(f"Open loop, {sentence}")
    leave_report(evaluation, models, executions, folder)
    epochs, files = plan.finetune.epochs if plan.finetune else 0, files_of(plan, config, folder)
    return Results(metrics, gaps, rows, of_tasks, executions, epochs, pictures, files, simulator)


def leave_overrides(entry: str, folder: Path, own: Path) -> None:
    """Leaves the command line of a run that has the planner of an entry in the place of its own."""
    given = folder / ".hydra" / "overrides.yaml"
    overrides = list(OmegaConf.load(given)) if given.exists() else []
    shared = [text for text in overrides if key_of(text).partition(".")[0] not in ("compare", "planner", "init")]
    (own / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create([*shared, *as_settings(entry)]), own / ".hydra" / "overrides.yaml")


def extent(plan: Preparation) -> dict[str, Any]:
    """What finetuning took, for metrics.json."""
    found: dict[str, Any] = {}
    if plan.finetune:
        found["gradient_steps"] = plan.finetune.gradient_steps
    if plan.rollouts:
        found |= {"simulator_steps": plan.rollouts.simulator_steps, "rollouts": plan.rollouts.history}
    return found


def files_of(plan: Preparation, config: DictConfig, folder: Path) -> Files:
    """Where the run's data and models lie."""
    simulator = plan.parts.simulator
    given = config.base_checkpoint is not None
    baseline = Path(config.base_checkpoint) if given else baseline_path(config, simulator)
    finetuned = folder / "checkpoints/last.ckpt" if plan.finetune else None
    return Files(plan.parts.data.path(simulator), baseline, given, finetuned)


def leave_report(evaluation: Evaluation, models: dict[str, WorldModel], executions: Executions, folder: Path) -> None:
    """Writes report.html, and what it shows beyond the plans; should that fail, the run is finished all the same."""
    try:
        maps = make_maps(models, executions, evaluation.simulator, evaluation.objective, evaluation.seed)
        write_arrays(folder / MAPS, maps)
        write_run_report(folder)
    except Exception as error:
        log.warning(
            "The run is finished, but its report could not be written (%s: %s); try python -m gapclose.report %s.",
            type(error).__name__,
            error,
            shlex.quote(str(folder)),
        )


def draw(plan: Preparation, metrics: dict[str, Any], executions: Executions, folder: Path) -> list[Path]:
    """The pictures of what there is: learned models' plans and errors (else the oracle's plans), and the epochs."""
    open_loop = {name: ways["open_loop"] for name, ways in executions.items()}
    learned = {name: execution for name, execution in open_loop.items() if name != "oracle"}
    pictures = [plot_plans(learned or open_loop, plan.parts.simulator, folder / "plans.png")]
    if learned:
        first = next(iter(learned))
        error, path = metrics[first]["expert_error"], folder / "error_along_horizon.png"
        pictures.append(plot_error_along_horizon(learned, error, path, first))
    history = metrics.get("rollouts", [])
    if history or "each_epoch" in metrics:
        measured = held_out_by_epoch(metrics, plan.finetune.epochs)
        held_out = [{"epoch": epoch, **gap["open_loop"]} for epoch, gap in measured.items()]
        pictures.append(plot_epochs(history, held_out, folder / "finetuning_epochs.png"))
    return pictures
