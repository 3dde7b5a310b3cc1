"""The cross-entropy method with gradient descent on the samples."""

from typing import Any

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.cem import CEMPlanner
from gapclose.planning.search import Search
from gapclose.setting_types import Positive


class GradCEMPlanner(CEMPlanner):
    """CEM in which each sample takes gradient steps before the elites are chosen.

    Bharadhwaj, Xie and Shkurti 2020, *Model-predictive control via cross-entropy and gradient-based optimization*,
    section 4: sampling leaves local minima of the gradient, and gradients need fewer samples in high dimension. Unlike
    there, the gradient of each sequence is scaled to a step of fixed size.

    Args:
        gradient_steps: gradient steps per sample and iteration.
        lr: largest change of an action of each sequence per step, in units of half the action range.
        settings: settings of `CEMPlanner`.
    """

    uses_gradients = True

    @validate_call
    def __init__(self, *, gradient_steps: PositiveInt = 1, lr: Positive = 0.1, **settings: Any) -> None:
        super().__init__(**settings)
        self.gradient_steps, self.lr = gradient_steps, lr

    def improve(self, search: Search, candidates: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.gradient_steps):
            _, gradient = search.costs_and_gradients(candidates)
            largest = gradient.abs().amax((2, 3), keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
            candidates = (candidates - self.lr * gradient / largest).clamp(-1, 1)
        return candidates, search.score(candidates)
