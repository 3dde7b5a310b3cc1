"""Errors of other libraries are explained in one sentence."""

import errno

import numpy as np
import pytest
import torch

from gapclose.explanation import explain


@pytest.mark.parametrize("allocate", [torch.zeros, np.zeros])
def test_out_of_memory_names_the_settings_to_reduce(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        allocate(2**58)
    sentence = explain(error.value)
    assert sentence.startswith("There is not enough memory (")
    assert "reduce planner.horizon" in sentence
    assert "\n" not in sentence


def test_out_of_memory_on_a_gpu_names_them_too():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8 GiB")
    assert explain(error).startswith("There is not enough memory (20.00 GiB were requested at once); reduce ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("AF_UNIX path too long"), "set a shorter one, such as TMPDIR=/tmp"),
        (OSError(errno.ENOLCK, "No locks available"), "(No locks available); choose a folder on another file system"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device"), "free space"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "There is not enough memory; reduce"),
    ],
)
def test_errors_of_the_system_without_a_file_say_what_to_do(error, words):
    assert words in explain(error)
    assert "\n" not in explain(error)


def test_other_errors_are_defects_of_the_program():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
