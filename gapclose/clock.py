"""Measures how long computations on tensors take."""

import time

import torch
from torch import Tensor


def now(computed: Tensor) -> float:
    """Returns a monotonic time in seconds, after the tensor's device has finished all pending work."""
    if computed.is_cuda:
        torch.cuda.synchronize(computed.device)
    return time.perf_counter()
