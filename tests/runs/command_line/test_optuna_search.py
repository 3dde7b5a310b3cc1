"""An interrupted search resumes with the trials that its study lacks."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gapclose.errors import UserError
from gapclose.runs.jobs import train
from tests.runs.conftest import TINY

optuna = pytest.importorskip("optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

SEARCH = [*TINY, "sweep=search", "model=mlp", "finetune.epochs=1", "finetune.steps_per_epoch=5"]
SEARCH += ["finetune.replay_ratio=0.5", "finetune.rollouts.plans_per_epoch=2"]  # Only the learning rate is searched.
SEARCH += ["hydra.sweep.dir=sweep", "hydra.sweep.subdir='${finetune.module.optimizer.lr}'"]


def trials():
    (study,) = optuna.get_all_study_summaries("sqlite:///sweep/study.db")
    return optuna.load_study(study.study_name, "sqlite:///sweep/study.db").trials


def states():
    return [trial.state.name for trial in trials()]


def folders():
    return {path.parent.name for path in Path("sweep").glob("*/metrics.json")}


@pytest.fixture
def evaluated(monkeypatch):
    """Errors that replace the next evaluations; `None` lets an evaluation run."""
    ends = []
    measured = train.evaluate_and_save

    def evaluate_and_save(*arguments):
        error = ends.pop(0) if ends else None
        if error:
            raise error
        return measured(*arguments)

    monkeypatch.setattr(train, "evaluate_and_save", evaluate_and_save)
    return ends


def test_a_search_resumes_with_missing_and_interrupted_trials(call, evaluated):
    evaluated += [None, KeyboardInterrupt()]
    answer = call("train", *SEARCH, "hydra.sweeper.n_trials=3")
    assert (answer.code, states()) == (130, ["COMPLETE", "RUNNING"])
    interrupted = trials()[1].params
    answer = call("train", *SEARCH, "hydra.sweeper.n_trials=3")
    assert (answer.code, answer.err) == (0, "")
    assert states() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials()[2].params == interrupted
    assert "was interrupted, resumes" in answer.out
    assert folders() == {str(*trials()[number].params.values()) for number in (0, 2, 3)}
    assert len(folders()) == 3, "the sampler draws other parameters after a restart"
    answer = call("train", *SEARCH, "hydra.sweeper.n_trials=3")
    assert (answer.code, len(states())) == (0, 4)
    assert "starts" not in answer.out


def test_a_search_for_the_largest_value_resumes_only_in_its_own_direction(call):
    search = [*SEARCH, "optimized_metric=finetuned/mpc/goal_distance"]
    largest = [*search, "hydra.sweeper.direction=maximize"]
    for n_trials in (1, 2):
        answer = call("train", *largest, f"hydra.sweeper.n_trials={n_trials}")
        assert (answer.code, answer.err) == (0, "")
    assert states() == ["COMPLETE", "COMPLETE"]
    best = OmegaConf.load("sweep/optimization_results.yaml").best_value
    assert best == max(trial.value for trial in trials()) > min(trial.value for trial in trials())
    answer = call("train", *search, "hydra.sweeper.n_trials=3")
    assert answer.code == 1
    assert answer.err.startswith(
        "Error: hydra.sweeper.direction is minimize, but the study was created with another direction"
    )
    assert answer.err.count("\n") == 1
    assert states() == ["COMPLETE", "COMPLETE"]


def test_a_failed_trial_does_not_end_the_search_and_is_replaced_by_another(call, evaluated):
    evaluated += [UserError("No luck."), None]
    answer = call("train", *SEARCH, "hydra.sweeper.n_trials=2")
    assert answer.code == 1
    assert "1 job has failed" in answer.err
    assert states() == ["FAIL", "COMPLETE"]
    assert call("train", *SEARCH, "hydra.sweeper.n_trials=2").code == 0
    assert states() == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_search_in_which_all_trials_fail_ends_in_one_sentence(call, evaluated):
    evaluated += [UserError("No luck.")]
    answer = call("train", *SEARCH, "hydra.sweeper.n_trials=1")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert "1 job has failed" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("setting", ["optimized_metric=null", "optimized_metric=nonsense", "hydra.sweeper.n_trials=0"])
def test_a_search_without_metric_or_trials_is_refused_before_its_first_trial(call, setting):
    answer = call("train", *SEARCH, setting)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: ")
    assert setting.partition("=")[0] in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("sweep/study.db").exists()
