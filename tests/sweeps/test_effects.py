import math

from gapclose.sweeps.effects import SEED, crossed, effects, main_effect, matched_trials, pair_means, without_oracle
from tests.sweeps.conftest import leave_run, read_settings


def leave_rates(folder, rates):
    """Leaves runs with the given settings (the seed last) and success rates in tenths."""
    for settings, rate in rates.items():
        *settings, seed = settings.split()
        success = [1] * rate + [0] * (10 - rate)
        leave_run(folder, settings, int(seed), success, [0.1] * 10)


def means(effect):
    return {value: round(estimate.mean, 9) for value, estimate in effect.items()}


def test_main_effects_are_means_over_everything_else(grid):
    effect = main_effect(read_settings(grid), "planner.horizon", "model error")
    assert means(effect) == {25: 13.125, 50: 26.25, 150: 78.75}
    assert all(value.low < value.mean < value.high for value in effect.values())


def test_a_value_tried_only_in_easier_conditions_does_not_look_better(tmp_path):
    leave_rates(tmp_path, {"model=mlp r.x=1 0": 0, "model=ensemble r.x=1 0": 10, "model=ensemble r.x=2 0": 10})
    settings = read_settings(tmp_path)
    assert means(main_effect(settings, "r.x", "success")) == {1: 1.0, 2: 1.0}
    assert len(matched_trials(settings, "r.x")) == 2


def test_values_are_compared_only_under_the_same_conditions(tmp_path):
    rates = {"a=x b=1 0": 2, "a=y b=1 0": 4, "a=x b=2 0": 0, "a=y b=2 0": 2, "a=z b=2 0": 9}
    leave_rates(tmp_path, rates)
    assert means(main_effect(read_settings(tmp_path), "a", "success")) == {"x": 0.1, "y": 0.3}


def test_values_under_other_conditions_do_not_prevent_an_effect_of_the_key(tmp_path):
    """`c` and `d` never occur under the conditions of `a` and `b`."""
    rates = {"a=a b=1 0": 2, "a=b b=1 0": 4, "a=a b=2 0": 2, "a=b b=2 0": 4, "a=c b=3 0": 9, "a=d b=3 0": 9}
    leave_rates(tmp_path, rates)
    assert means(main_effect(read_settings(tmp_path), "a", "success")) == {"a": 0.2, "b": 0.4}


def test_a_seed_that_failed_with_one_value_is_left_out_for_all(tmp_path):
    """The harder seed has failed with y in one of the two conditions."""
    whole = {"a=x b=2 0": 8, "a=x b=2 1": 0, "a=y b=2 0": 8, "a=y b=2 1": 0}
    leave_rates(tmp_path, {"a=x b=1 0": 8, "a=x b=1 1": 0, "a=y b=1 0": 8} | whole)
    x, y = means(main_effect(read_settings(tmp_path), "a", "success")).values()
    assert x == y


def test_effects_are_sorted_by_size_and_include_the_seed(grid, tmp_path):
    assert [(key, len(effect)) for key, effect in effects(read_settings(grid)).items()] == [
        ("planner.horizon", 3), ("env.action_max", 2), (SEED, 2)
    ]  # fmt: skip
    leave_rates(tmp_path / "few", {"a=x 0": 2, "a=x 1": 6, "a=y 0": 4})
    found = effects(read_settings(tmp_path / "few"))
    assert {key: means(effect) for key, effect in found.items()} == {
        SEED: {0: 0.2, 1: 0.6}, "a": {"x": 0.2, "y": 0.4}
    }  # fmt: skip


def test_pairs_of_values_have_means_where_both_were_tried(tmp_path):
    leave_rates(tmp_path, {"a=x b=1 0": 2, "a=x b=one 0": 4, "a=y b=1 0": 6})
    settings = read_settings(tmp_path)
    table = pair_means(settings, "a", "b", "success")
    assert table.columns.tolist() == [1, "one"]
    assert table.loc["x"].tolist() == [0.2, 0.4]
    assert math.isnan(table.loc["y", "one"])
    assert not crossed(settings, "a", "b")


def test_the_true_dynamics_are_left_out_unless_there_is_nothing_else(tmp_path):
    leave_run(tmp_path, ["finetune=none"], 0, [1, 0], [0.5, 0.5], "none", models=["baseline", "oracle"])
    settings = read_settings(tmp_path)
    (baseline,) = without_oracle(settings)
    assert baseline.method["finetune"] == "none"
    truth = [setting for setting in settings if setting is not baseline]
    assert without_oracle(truth) == truth
    assert effects(truth) == {}
