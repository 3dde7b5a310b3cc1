import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, ttest_rel

from gapclose.evaluation.outcomes import COLUMNS
from gapclose.evaluation.paired import (
    compare_errors,
    compare_models,
    compare_rates,
    corrected,
    crossed_test,
    entries,
    gains,
    in_words,
    probability,
)

OUTCOMES = st.tuples(st.integers(1, 3), st.integers(2, 12)).flatmap(
    lambda shape: st.tuples(*[arrays(int, shape, elements=st.integers(0, 1))] * 2)
)


def test_with_one_seed_the_p_value_is_that_of_mcnemars_test():
    # Twelve pairs: 7 gained, 1 lost, 4 alike.
    one = np.array([[1] * 7 + [0] + [1, 1, 0, 0]])
    other = np.array([[0] * 7 + [1] + [1, 1, 0, 0]])
    assert gains(one, other) == (7, 1, pytest.approx(binomtest(7, 8).pvalue))


@given(OUTCOMES)
def test_swapping_the_models_reverses_the_comparison(pair):
    one, other = compare_rates(*pair), compare_rates(*pair[::-1])
    assert one.difference.mean == pytest.approx(-other.difference.mean)
    assert (one.difference.low, one.difference.high) == pytest.approx((-other.difference.high, -other.difference.low))
    assert (one.gained, one.lost) == (other.lost, other.gained)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.better == pytest.approx(1 - other.better)
    assert 0 <= one.p_value <= 1


def test_repeating_a_seed_does_not_lower_the_p_value():
    random = np.random.default_rng(0)
    one, other = random.integers(0, 2, (1, 80)), random.integers(0, 2, (1, 80))
    single, repeated = compare_rates(one, other), compare_rates(one.repeat(3, 0), other.repeat(3, 0))
    assert repeated.difference == pytest.approx(single.difference, abs=0.02)
    assert repeated.better == pytest.approx(single.better, abs=0.02)
    assert (repeated.gained, repeated.lost) == (single.gained, single.lost)
    assert repeated.p_value >= single.p_value


def test_seeds_that_contradict_each_other_have_a_high_p_value_for_any_number_of_tasks():
    one = np.array([[1] * 300, [1] * 300, [0] * 300])
    assert gains(one, 1 - one)[:2] == (300, 0)
    assert compare_rates(one, 1 - one).p_value > 0.3


def test_without_tasks_in_common_the_crossed_test_is_the_t_test_over_seeds():
    random = np.random.default_rng(1)
    differences = 0.2 + random.normal(size=(5, 1)) + np.zeros((5, 40))
    means = differences.mean(1)
    assert crossed_test(differences) == pytest.approx(ttest_rel(means, np.zeros(5)).pvalue)


def test_lower_errors_are_better():
    random = np.random.default_rng(2)
    control = random.exponential(size=(3, 50))
    found = compare_errors(0.5 * control, control)
    assert found.difference.high < 0
    assert found.ratio.mean == pytest.approx(0.5)
    assert found.better > 0.999
    assert compare_errors(control, control).better == 0.5
    assert found.gained is found.p_value is None


def test_there_is_no_ratio_to_a_control_without_error():
    found = compare_errors(np.ones((1, 4)), np.zeros((1, 4)))
    assert np.isnan(found.ratio.mean)
    assert found.better == 0


def table_of(**models):
    rows = [
        (model, way, task, success, 0.1, error)
        for model, ways in models.items()
        for way, (successes, errors) in ways.items()
        for task, (success, error) in enumerate(zip(successes, errors))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_models_of_a_run_are_compared_in_the_ways_that_both_have():
    before, after = ([0, 0, 0, 1], [0.4, 0.4, 0.4, 0.4]), ([1, 1, 0, 1], [0.1, 0.1, 0.3, 0.1])
    table = table_of(
        baseline={"open_loop": before, "mpc": before}, finetuned={"open_loop": after}, oracle={"mpc": after}
    )
    found = compare_models(table.sample(frac=1, random_state=0), "finetuned", "baseline")
    assert list(found) == ["open_loop"]
    written = json.loads(json.dumps(entries(found)))["open_loop"]
    assert written["num_tasks"] == 4
    assert (written["success"]["gained"], written["success"]["lost"], written["success"]["p_value"]) == (2, 0, 0.5)
    assert written["success"]["difference"] == 0.5
    assert written["world_model_error"]["ratio"] == pytest.approx(0.375)
    assert written["world_model_error"]["probability_better"] == 1
    assert compare_models(table[table.model != "finetuned"], "finetuned", "baseline") == {}


def test_a_sentence_says_which_model_is_better_and_with_which_p_value():
    one, other = np.ones((1, 60)), np.zeros((1, 60))
    error = compare_errors(np.arange(60.0)[None], 1 + np.arange(60.0)[None])
    sentence = in_words("online", "continue", compare_rates(one, other), error)
    assert sentence.startswith("online beats continue: success +1.00 [")
    assert "] on the same 60 tasks; 60 tasks gained, 0 lost (McNemar p < 0.0001); " in sentence
    assert sentence.endswith("; probability of a lower model error > 0.999.")
    assert in_words("a", "b", compare_rates(other, one), None).startswith("a loses to b: ")
    assert in_words("a", "b", compare_rates(one, one), None).startswith("a is not clearly different from b: ")


def test_p_values_are_corrected_for_their_number():
    assert corrected([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert corrected([0.6, 0.7]) == [1, 1]
    assert corrected([0.02]) == [0.02]


def test_a_probability_has_the_precision_of_the_resamples():
    assert [probability(value) for value in (0.0, 0.5, 0.9991, 1.0)] == ["< 0.001", "0.500", "> 0.999", "> 0.999"]
