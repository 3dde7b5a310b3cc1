"""Errors of others, in a sentence of ours."""

import numpy as np
import pytest
import torch

from gapclose.explanation import explain


@pytest.mark.parametrize("allocate", [torch.zeros, np.zeros])
def test_too_little_memory_names_the_settings_to_lower(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        allocate(2**58)
    sentence = explain(error.value)
    assert sentence.startswith("The memory does not suffice (")
    assert "lower planner.horizon" in sentence
    assert "\n" not in sentence


def test_so_does_that_of_a_gpu():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8 GiB")
    assert explain(error).startswith("The memory does not suffice (20.00 GiB were asked for at once); lower ")


def test_other_errors_are_defects_of_the_program():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
