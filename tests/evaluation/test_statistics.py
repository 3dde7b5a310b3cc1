import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gapclose.evaluation import statistics
from gapclose.evaluation.statistics import (
    Estimate,
    estimate,
    mean_interval,
    number,
    rate_difference,
    rate_interval,
    ratio_interval,
    resampled_means,
    wilson,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_equals_that_of_scipy(counts):
    successes, n = counts
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes / n, n) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_mean_is_over_all_values_and_inside_its_interval():
    values = np.random.default_rng(0).exponential(size=(3, 50))
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    assert mean_interval(values) == (mean, low, high)


# With nothing in common between seeds or tasks, the pigeonhole bootstrap is known to be too wide by the root of 3.
@pytest.mark.parametrize(
    ("between_seeds", "between_tasks", "too_wide"), [(0.0, 0.0, 3**0.5), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)]
)
def test_the_width_of_the_interval_matches_the_variation_of_the_mean(between_seeds, between_tasks, too_wide):
    random = np.random.default_rng(1)

    def draw():
        seeds, tasks = random.normal(size=(8, 1)), random.normal(size=(1, 40))
        return between_seeds * seeds + between_tasks * tasks + 0.5 * random.normal(size=(8, 40))

    true_deviation = np.std([draw().mean() for _ in range(400)])
    widths = [np.subtract(*mean_interval(draw())[:0:-1]) for _ in range(8)]
    # Few seeds make the bootstrap too narrow by a factor of (1 - 1/S)^(1/2), which 8 seeds keep small.
    assert np.mean(widths) / (2 * 1.96 * true_deviation) == pytest.approx(too_wide, rel=0.3)


def test_the_interval_of_a_difference_is_narrow_if_both_fail_on_the_same_tasks():
    tasks = np.random.default_rng(2).normal(size=(1, 60)).repeat(3, 0)
    noise = 0.1 * np.random.default_rng(3).normal(size=(3, 60))
    one, other = mean_interval(tasks), mean_interval(tasks + 0.3 + noise)
    difference = mean_interval(tasks + 0.3 + noise - tasks)
    assert not difference.low <= 0 <= difference.high
    assert one.high > other.low


def test_equal_seeds_do_not_narrow_the_interval_and_independent_seeds_do():
    outcomes = np.random.default_rng(4).integers(0, 2, size=(1, 100))
    same = rate_interval(outcomes.repeat(4, 0))
    assert same[1:] == pytest.approx(wilson(outcomes.mean(), 100), abs=0.01)
    independent = rate_interval(np.random.default_rng(5).integers(0, 2, size=(4, 100)))
    assert independent.high - independent.low < 0.75 * (same.high - same.low)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_one_seed_is_that_in_its_metrics(counts):
    successes, n = counts
    assert rate_interval((np.arange(n) < successes)[None]) == Estimate(successes / n, *wilson(successes / n, n))


@pytest.mark.parametrize("outcome", [0, 1])
def test_if_all_outcomes_are_equal_the_number_of_trials_is_that_of_tasks(outcome):
    assert rate_interval(np.full((3, 100), outcome)) == Estimate(outcome, *wilson(outcome, 100))


@pytest.mark.parametrize("outcome", [0, 1])
def test_the_interval_of_a_difference_of_equal_outcomes_is_not_empty(outcome):
    same = np.full((3, 100), outcome)
    difference, low, high = rate_difference(same, same)
    assert difference == 0
    assert low < 0 < high
    assert high - low < 0.15


def test_the_interval_of_a_difference_is_narrower_for_correlated_outcomes():
    tasks = np.random.default_rng(6).integers(0, 2, size=(1, 200))
    better = np.maximum(tasks, np.random.default_rng(7).random((1, 200)) < 0.1)
    together, apart = rate_difference(better, tasks), rate_difference(better, 1 - tasks)
    assert together.mean == pytest.approx(better.mean() - tasks.mean())
    assert together.low > 0
    assert together.high - together.low < 0.6 * (apart.high - apart.low)


def test_a_ratio_is_that_of_the_means_and_its_interval_uses_pairs():
    control = np.random.default_rng(8).exponential(size=(3, 60))
    mean, low, high = ratio_interval(0.5 * control, control)
    assert (mean, low, high) == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = ratio_interval(np.random.default_rng(9).exponential(size=(3, 60)), control)
    assert low < mean < high


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    found = estimate(values)
    half = 1.96 * values.std().item() / 20
    assert found["mean"] == pytest.approx(values.mean().item())
    assert found["ci95"] == pytest.approx([found["mean"] - half, found["mean"] + half], abs=0.02)
    assert estimate(values) == found


def test_tasks_without_a_value_are_left_out():
    assert estimate(torch.tensor([1.0, torch.nan, 1.0])) == {"mean": 1.0, "ci95": [1.0, 1.0], "num_tasks": 2}


def test_one_value_has_no_interval_and_no_values_have_no_mean():
    one, none = estimate(torch.tensor([2.0])), estimate(torch.tensor([torch.nan]))
    assert (one["mean"], one["num_tasks"], none["num_tasks"]) == (2.0, 1, 0)
    assert all(map(math.isnan, [*one["ci95"], none["mean"], *none["ci95"]]))


@pytest.mark.parametrize(
    ("value", "form", "written"),
    [
        (0.00049, ".2g", "0.00049"),
        (9.61, ".1g", "10"),
        (312.0, ".2g", "310"),
        (74321.0, ".2g", "74,000"),
        (3e8, ".2g", "3e+08"),
        (math.inf, ".2g", "inf"),
        (math.nan, ".2g", "–"),
        (None, ".2f", "–"),
    ],
)
def test_a_number_has_an_exponent_only_where_it_is_very_large_or_small(value, form, written):
    assert number(value, form) == written


@pytest.fixture
def limits(monkeypatch):
    """Changes limits of the bootstrap."""
    statistics.draws.cache_clear()
    yield lambda name, value: monkeypatch.setattr(statistics, name, value)
    statistics.draws.cache_clear()


@pytest.mark.parametrize("shape", [(1, 50), (3, 7), (7, 3)])
def test_resamples_are_the_same_in_parts(shape, limits):
    values = np.random.default_rng(0).normal(size=shape)
    whole = resampled_means(values)
    statistics.draws.cache_clear()
    limits("IN_MEMORY", 4321)
    np.testing.assert_array_equal(resampled_means(values), whole)


def test_very_many_tasks_have_fewer_resamples_and_the_same_interval(limits):
    values = np.random.default_rng(0).normal(size=(1, 2000))
    limits("MOST_DRAWN", 2_000_000)
    assert len(resampled_means(values)) == 1000
    found, error = mean_interval(values), values.std() / np.sqrt(values.size)
    assert found.high - found.mean == pytest.approx(1.96 * error, rel=0.1)
