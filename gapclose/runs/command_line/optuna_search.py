"""Searches with Optuna: checks their settings, and resumes their studies."""

import warnings

from omegaconf import DictConfig

from gapclose.errors import UserError
from gapclose.runs.setup.optimized_metric import check_metric


def check_search(sweeper: DictConfig, metric: str | None) -> None:
    """Checks the settings of a search.

    Args:
        sweeper: configuration of the sweeper.
        metric: the setting `optimized_metric`.

    Raises:
        UserError: the metric is null or in no metrics.json, or the number of trials is not positive.
    """
    if metric is None:
        raise UserError(
            "A search needs a number to optimise; give its path in metrics.json, such as "
            "optimized_metric=finetuned/open_loop/world_model_error."
        )
    from gapclose.runs.setup.evaluation import all_metric_paths  # Takes seconds.

    check_metric(metric, all_metric_paths())
    if not isinstance(sweeper.n_trials, int) or sweeper.n_trials < 1:
        raise UserError(f"hydra.sweeper.n_trials is {sweeper.n_trials}; give a positive whole number.")


def continue_study(sweeper: DictConfig) -> None:
    """Makes Optuna's sweeper run only the trials that a study still lacks.

    Complete trials count. Trials that were running when the search was killed are repeated with the same parameters,
    hence in the same folders. The sampler gets another seed, so that it does not draw the same parameters again.

    Args:
        sweeper: configuration of the sweeper, which is changed.

    Raises:
        UserError: the study has another direction, or the direction is invalid.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = getattr(sweeper.direction, "name", sweeper.direction)  # Hydra's default is an enum.
    try:
        # The direction of a study cannot change, and the sweeper will use that of its configuration.
        study = optuna.create_study(
            study_name=sweeper.study_name, storage=sweeper.storage, direction=direction, load_if_exists=True
        )
    except ValueError as error:
        raise UserError(
            f"hydra.sweeper.direction is {direction}, but the study was created with another direction ({error}); give "
            "that one, or start a new study with hydra.sweep.dir=DIR."
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
