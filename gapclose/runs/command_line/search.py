"""Searches: studies of Optuna that go on where they were interrupted."""

import warnings

from omegaconf import DictConfig

from gapclose.errors import UserError
from gapclose.runs.setup.optimized_metric import check_metric


def check_search(sweeper: DictConfig, metric: str | None) -> None:
    """Refuses a search that has nothing to go by, or nothing to do.

    Args:
        sweeper: configuration of the sweeper.
        metric: what the search goes by.

    Raises:
        UserError: there is no metric, or one that no run has, or no trial.
    """
    if metric is None:
        raise UserError(
            "A search needs a number to go by; give its path in metrics.json, such as "
            "optimized_metric=finetuned/open_loop/world_model_error."
        )
    from gapclose.runs.setup.evaluation import all_metric_paths  # Takes seconds.

    check_metric(metric, all_metric_paths())
    if not isinstance(sweeper.n_trials, int) or sweeper.n_trials < 1:
        raise UserError(f"hydra.sweeper.n_trials is {sweeper.n_trials}; give a whole number from 1.")


def continue_study(sweeper: DictConfig) -> None:
    """Makes Optuna's sweeper run what a study still lacks.

    It counts the trials that are complete, takes up again those that were running when it was killed, with the same
    parameters and therefore in the same folders, and draws others than before.

    Args:
        sweeper: configuration of the sweeper, which is changed.

    Raises:
        UserError: the study was begun in another direction, or the direction is none.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = getattr(sweeper.direction, "name", sweeper.direction)  # Hydra's default is an enumeration's.
    try:
        # A study keeps the direction that it is made with, and the sweeper will ask for its own.
        study = optuna.create_study(
            study_name=sweeper.study_name, storage=sweeper.storage, direction=direction, load_if_exists=True
        )
    except ValueError as error:
        raise UserError(
            f"hydra.sweeper.direction is {direction}, which this study cannot have ({error}); give minimize or "
            "maximize as when the search began, or another hydra.sweep.dir=DIR."
        ) from error
    trials = study.get_trials(deepcopy=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for trial in trials:
            if trial.state == optuna.trial.TrialState.RUNNING:
                study.enqueue_trial(trial.params)
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    complete = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    sweeper.n_trials = max(0, sweeper.n_trials - complete)
    if sweeper.sampler.get("seed") is not None:
        sweeper.sampler.seed += len(trials)
