import math

import pytest
import torch

from gapclose.evaluation.intervals import estimate


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    found = estimate(values)
    half = 1.96 * values.std().item() / 20
    assert found["mean"] == pytest.approx(values.mean().item())
    assert found["ci95"] == pytest.approx([found["mean"] - half, found["mean"] + half], abs=0.02)
    assert estimate(values) == found


def test_tasks_without_a_value_are_left_out():
    assert estimate(torch.tensor([1.0, torch.nan, 1.0])) == {"mean": 1.0, "ci95": [1.0, 1.0], "num_tasks": 2}


def test_of_one_value_there_is_no_interval_and_of_none_no_mean():
    one, none = estimate(torch.tensor([2.0])), estimate(torch.tensor([torch.nan]))
    assert (one["mean"], one["num_tasks"], none["num_tasks"]) == (2.0, 1, 0)
    assert all(map(math.isnan, [*one["ci95"], none["mean"], *none["ci95"]]))
