from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapclose.planning.initialization import initial_actions

LIKE = torch.zeros(0)


def draw(init, shape, num_knots=4, seed=0, like=LIKE):
    return initial_actions(init, shape, num_knots, torch.Generator().manual_seed(seed), like)


def runs(sequence):
    """Lengths of the constant pieces of a sequence."""
    return [len(list(piece)) for _, piece in groupby(sequence.tolist())]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_knots_are_constant_over_equal_parts_of_the_horizon_and_uniform_within_the_bounds(steps, num_knots, seed):
    actions = draw("knots", (3, 2, steps, 2), num_knots, seed)
    assert actions.shape == (3, 2, steps, 2)
    assert actions.abs().max() <= 1
    pieces = min(steps, num_knots)
    for sequence in actions.movedim(2, -1).flatten(0, 2):
        lengths = runs(sequence)
        assert len(lengths) == pieces
        assert max(lengths) - min(lengths) <= 1


def test_knots_cover_the_whole_action_range_independently():
    actions = draw("knots", (4000, 8, 2), num_knots=2)
    first, second = actions[:, 0], actions[:, -1]
    for x in (first, second):
        assert x.mean().abs() < 0.05
        assert x.var().item() == pytest.approx(1 / 3, rel=0.05)
        assert x.amin() < -0.99
        assert x.amax() > 0.99
    assert (first * second).mean().abs() < 0.03
    assert (first[:, 0] * first[:, 1]).mean().abs() < 0.03


def test_normal_actions_are_independent_standard_gaussians():
    actions = draw("normal", (3000, 4, 2))
    assert actions.mean().abs() < 0.02
    assert actions.std().item() == pytest.approx(1.0, rel=0.02)
    assert (actions[:, 0] * actions[:, 1]).mean().abs() < 0.05


def test_zeros_are_zero():
    assert torch.equal(draw("zeros", (2, 3, 4, 1)), torch.zeros(2, 3, 4, 1))


@pytest.mark.parametrize("init", ["zeros", "normal", "knots"])
def test_the_generator_alone_decides_and_the_type_is_that_of_the_example(init):
    like = torch.zeros(1, dtype=torch.float64)
    actions = draw(init, (5, 6, 2), seed=1, like=like)
    torch.rand(3)
    assert actions.dtype == torch.float64
    assert torch.equal(actions, draw(init, (5, 6, 2), seed=1, like=like))
    if init != "zeros":
        assert not torch.equal(actions, draw(init, (5, 6, 2), seed=2, like=like))


@pytest.mark.parametrize("init", ["normal", "knots"])
def test_without_a_generator_the_global_one_is_used(init):
    torch.manual_seed(0)
    first = initial_actions(init, (5, 6, 2), 3, None, LIKE)
    second = initial_actions(init, (5, 6, 2), 3, None, LIKE)
    torch.manual_seed(0)
    assert torch.equal(first, initial_actions(init, (5, 6, 2), 3, None, LIKE))
    assert not torch.equal(first, second)
