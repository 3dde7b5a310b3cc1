"""The explorer: the planner of the rollouts, named in a setting."""

import pytest
from hydra import compose, initialize_config_dir

from gapclose.conf_files import conf_dir
from gapclose.errors import UserError
from gapclose.runs.setup.named_planners import explorer_groups, with_groups
from gapclose.runs.setup.parts import Parts


@pytest.fixture
def explorer_of():
    """The configuration with the explorer's groups, and the run's, for a command line."""

    def composed(entry, *overrides):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            overrides = ["finetune=online", *overrides]
            config = compose("train", overrides=overrides)
            config.finetune.rollouts.planner = entry
            groups = explorer_groups(config, overrides)
            return groups and with_groups(config, groups), config

    return composed


def test_without_an_entry_there_is_no_explorer(explorer_of):
    assert explorer_of(None)[0] is None
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert explorer_groups(compose("train", overrides=["finetune=none"]), []) is None


def test_an_explorer_has_its_own_defaults_and_the_runs_horizon(explorer_of):
    settings = ["planner.horizon=9", "planner.num_starts=2", "planner.iterations=3", "init=colored", "init.exponent=1"]
    explorer, config = explorer_of("cem planner.num_samples=40", *settings)
    parts, own = Parts.build(explorer), Parts.build(config)
    planner = parts.mpc.planner
    assert type(planner).__name__ == "CEMPlanner"
    assert (planner.horizon, planner.budget.iterations, planner.num_samples) == (9, 30, 40)
    assert type(planner.init).__name__ == "Zeros"
    assert type(own.mpc.planner).__name__ == "MultistartPlanner"
    assert type(own.mpc.planner.init).__name__ == "Colored"
    assert explorer_of("cem planner.horizon=4", *settings)[0].planner.horizon == 4


@pytest.mark.parametrize("planner", ["cem", "multistart"])
def test_the_explorer_does_not_depend_on_the_runs_planner(explorer_of, planner):
    explorer, _ = explorer_of("cem", f"planner={planner}")
    assert explorer.planner._target_.endswith("CEMPlanner")


def test_an_explorer_has_the_runs_objective_unless_its_entry_sets_another(explorer_of):
    weight = "objective.terms.disagreement.weight=7"
    assert Parts.build(explorer_of("cem", weight)[0]).objective.weight("disagreement") == 7
    assert Parts.build(explorer_of("cem objective=goal", weight)[0]).objective.weight("disagreement") == 0
    explorer, config = explorer_of("cem objective.terms.disagreement.weight=0", weight)
    assert Parts.build(explorer).objective.weight("disagreement") == 0
    assert Parts.build(config).objective.weight("disagreement") == 7
    assert set(explorer_of("cem", "model=mlp")[0].objective.terms) == {"goal"}


def test_an_explorer_may_start_from_a_policy(explorer_of):
    parts = Parts.build(explorer_of("gradient init=policy init.noise=0.1")[0])
    assert parts.mpc.planner.init.noise == 0.1
    assert parts.policy_training is not None


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("bogus", "Could not find 'planner/bogus'"),
        ("cem planner.speed=1", "planner.speed"),
        (
            "cem mpc.replan_every=3",
            "it sets mpc.replan_every, but an entry may only set settings of init, planner, objective",
        ),
        ("cem init=spiral", "init/spiral"),
        (3, "is 3; give the name of a planner"),
        (" ", "give the name of a planner"),
    ],
)
def test_an_invalid_entry_is_refused_in_one_sentence(explorer_of, entry, named):
    with pytest.raises(UserError, match=r"finetune\.rollouts\.planner") as refusal:
        explorer_of(entry)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
