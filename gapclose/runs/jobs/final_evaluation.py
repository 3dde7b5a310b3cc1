"""The last part of a run of train.py: evaluates its models and saves metrics, table, pictures and report."""

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from gapclose.command_lines import shell_path
from gapclose.data.trajectories import Trajectories
from gapclose.evaluation.metrics_file import write_metrics
from gapclose.evaluation.outcomes import outcomes, write_outcomes
from gapclose.evaluation.paired import compare_models, entries, in_words
from gapclose.evaluation.plots import plot_epochs, plot_error_along_horizon, plot_plans
from gapclose.evaluation.tables import (
    held_out_by_epoch,
    print_errors,
    print_table,
    published_rows,
    results_rows,
    what_changed,
)
from gapclose.files import write_text
from gapclose.logging.recording import log_results
from gapclose.logging.results import Files, Results
from gapclose.models.world_model import WorldModel
from gapclose.overrides import key_of
from gapclose.planning.execution import Execution
from gapclose.printable import printable
from gapclose.report.maps import make_maps
from gapclose.report.record import MAPS, PLANS, write_arrays, write_plans
from gapclose.report.run import write_run_report
from gapclose.runs.setup.evaluation import Evaluation
from gapclose.runs.setup.train_setup import TrainSetup
from gapclose.runs.storage.run_folder import (
    comparison_folder,
    entry_overrides,
    missing_comparisons,
    stored_overrides,
)
from gapclose.runs.storage.shared_models import baseline_path
from gapclose.runs.storage.versions import versions_and_commit

log = logging.getLogger(__name__)

Executions = dict[str, dict[str, Execution]]
"""Executions by model and way to execute."""


def evaluate_and_save(
    setup: TrainSetup,
    config: DictConfig,
    folder: Path,
    models: dict[str, WorldModel],
    trajectories: Trajectories,
    by_epoch: list[dict[str, Any]],
    logger: Logger | None,
    began: float,
) -> dict[str, Any] | None:
    """Evaluates the models on held-out tasks and writes table, pictures and report.

    Also evaluates the models with each planner of `compare`, each in a subfolder laid out like a run. A planner whose
    subfolder has a metrics.json is skipped. The run's own planner is skipped if the run's metrics.json exists.

    Returns:
        The content of the run's metrics.json, which is for the caller to write, as its last file: that it exists means
        that nothing is missing. `None` if it exists.

    Args:
        setup: the objects of the run.
        config: configuration of the run.
        folder: folder of the run.
        models: the models to evaluate, by name.
        trajectories: the data of the run.
        by_epoch: metrics after each epoch of finetuning, if they were measured.
        logger: receives the results.
        began: time when the run started or was last resumed, from which `wall_clock_seconds` counts.
    """
    for name, model in models.items():
        model.to(setup.evaluation.device)
        if config.compile and name != "oracle":
            model.compile_step()
    for entry in missing_comparisons(folder, setup.compared):
        subfolder, comparison = comparison_folder(folder, entry), setup.compared[entry]
        save_overrides(entry, folder, subfolder)
        write_text(subfolder / "config.yaml", OmegaConf.to_yaml(comparison.config))
        chosen = {name: model for name, model in models.items() if name in comparison.evaluation.models}
        arguments = (comparison.evaluation, comparison.config, subfolder, chosen, trajectories, [], began)
        write_metrics(subfolder / "metrics.json", save_results(setup, *arguments).metrics)
    if (folder / "metrics.json").exists():
        return None
    results = save_results(setup, setup.evaluation, config, folder, models, trajectories, by_epoch, began)
    log_results(logger, results)
    return results.metrics


def save_results(
    setup: TrainSetup,
    evaluation: Evaluation,
    config: DictConfig,
    folder: Path,
    models: dict[str, WorldModel],
    trajectories: Trajectories,
    by_epoch: list[dict[str, Any]],
    began: float,
) -> Results:
    """Evaluates the models with one planner and saves all results but metrics.json.

    The arguments are as in `evaluate_and_save`.
    """
    simulator = evaluation.simulator
    gaps, executions = {}, {}
    for name, model in models.items():
        log.info("Evaluating %s with planner %s", name, evaluation.planner_name)
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
        **versions_and_commit(),
        **gaps,
        **finetuning_cost(setup),
        **({"each_epoch": by_epoch} if by_epoch else {}),
        **({"published": OmegaConf.to_container(config.published)} if config.published is not None else {}),
        **({"paired": entries(compared)} if compared else {}),
    }
    write_outcomes(folder / "tasks.csv", of_tasks)
    write_plans(folder / PLANS, executions, simulator)
    pictures = draw_pictures(setup, metrics, executions, folder)
    rows = results_rows(gaps) + published_rows(metrics.get("published", {}))
    print_table(
        rows, f"{metrics['env']}, {len(evaluation.tasks.start)} held-out tasks, planner {config.choices.planner}"
    )
    print_errors(gaps)
    print(printable(what_changed(metrics)))
    if compared:
        by_column = compared["open_loop"]
        sentence = in_words("finetuned", "baseline", by_column["success"], by_column["world_model_error"])
        print(f"Open loop, {sentence}")
    save_report(evaluation, models, executions, metrics, folder)
    epochs, files = setup.finetune.epochs if setup.finetune else 0, run_files(setup, config, folder)
    return Results(metrics, gaps, rows, of_tasks, executions, epochs, pictures, files, simulator)


def save_overrides(entry: str, folder: Path, subfolder: Path) -> None:
    """Saves the command line of the run in `folder`, with the planner of an entry of `compare`, in `subfolder`."""
    shared = [
        text
        for text in stored_overrides(folder)
        if key_of(text).partition(".")[0] not in ("compare", "planner", "init")
    ]
    (subfolder / ".hydra").mkdir(parents=True, exist_ok=True)
    overrides = OmegaConf.create([*shared, *entry_overrides(entry)])
    write_text(subfolder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(overrides))


def finetuning_cost(setup: TrainSetup) -> dict[str, Any]:
    """Returns the gradient steps, simulator steps and rollouts of finetuning, for metrics.json."""
    cost: dict[str, Any] = {}
    if setup.finetune:
        cost["gradient_steps"] = setup.finetune.gradient_steps
    if setup.rollouts:
        cost |= {"simulator_steps": setup.rollouts.simulator_steps, "rollouts": setup.rollouts.history}
    return cost


def run_files(setup: TrainSetup, config: DictConfig, folder: Path) -> Files:
    """Returns the paths of the run's data and models."""
    simulator = setup.parts.simulator
    given = config.base_checkpoint is not None
    baseline = Path(config.base_checkpoint) if given else baseline_path(config, simulator)
    finetuned = folder / "checkpoints/last.ckpt" if setup.finetune else None
    return Files(setup.parts.data.path(simulator), baseline, given, finetuned)


def save_report(
    evaluation: Evaluation,
    models: dict[str, WorldModel],
    executions: Executions,
    metrics: dict[str, Any],
    folder: Path,
) -> None:
    """Writes maps.npz and report.html. Logs a warning if that fails: the run can do without them."""
    try:
        maps = make_maps(models, executions, evaluation.simulator, evaluation.objective, evaluation.seed)
        write_arrays(folder / MAPS, maps)
        write_run_report(folder, metrics)
    except Exception as error:
        log.warning(
            "The report could not be written (%s: %s); try python -m gapclose.report %s when the run has finished.",
            type(error).__name__,
            error,
            shell_path(folder),
        )


def draw_pictures(setup: TrainSetup, metrics: dict[str, Any], executions: Executions, folder: Path) -> list[Path]:
    """Draws the plans and errors of learned models (without any, the oracle's plans), and the epochs of finetuning."""
    open_loop = {name: ways["open_loop"] for name, ways in executions.items()}
    learned = {name: execution for name, execution in open_loop.items() if name != "oracle"}
    pictures = [plot_plans(learned or open_loop, setup.parts.simulator, folder / "plans.png")]
    if learned:
        first = next(iter(learned))
        error, path = metrics[first]["expert_error"], folder / "error_along_horizon.png"
        pictures.append(plot_error_along_horizon(learned, error, path, first))
    history = metrics.get("rollouts", [])
    if history or "each_epoch" in metrics:
        measured = held_out_by_epoch(metrics, setup.finetune.epochs)
        held_out = [{"epoch": epoch, **gap["open_loop"]} for epoch, gap in measured.items()]
        pictures.append(plot_epochs(history, held_out, folder / "finetuning_epochs.png"))
    return pictures
