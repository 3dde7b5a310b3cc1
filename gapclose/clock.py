"""The time that tensors took."""

import time

import torch
from torch import Tensor


def now(computed: Tensor) -> float:
    """The time in seconds since some moment, once the tensor's device has done all that was asked of it."""
    if computed.is_cuda:
        torch.cuda.synchronize(computed.device)
    return time.perf_counter()
