"""Gradient descent on the action sequence, through the world model."""

from typing import Any, Literal

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.planning.planner import Planner
from gapclose.planning.search import Search
from gapclose.settings import NonNegative, Positive

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "momentum": lambda actions, lr: torch.optim.SGD(actions, lr=lr, momentum=0.9),
}


class GradientPlanner(Planner):
    """Descends the gradient of the cost from one or a few starts; of all iterates, the best counts.

    *Closing the Train-Test Gap in World Models for Gradient-Based Planning* (arXiv 2512.09929, section 3).

    Args:
        num_starts: from how many sequences per task.
        optimizer: `adam`, `adamw`, `sgd` or `momentum` (SGD with momentum 0.9).
        lr: learning rate, in units of half the action range.
        action_noise: standard deviation of the noise added to the actions after each step, in the same units.
        settings: those of `Planner`.
    """

    descends = True

    @validate_call
    def __init__(
        self,
        *,
        num_starts: PositiveInt = 1,
        optimizer: Literal["adam", "adamw", "sgd", "momentum"] = "adam",
        lr: Positive = 0.1,
        action_noise: NonNegative = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.num_starts, self.optimizer, self.lr = num_starts, optimizer, lr
        self.action_noise = action_noise

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        self.descend(search, self.begin(search, warm_start, self.num_starts))

    def descend(self, search: Search, starts: Tensor) -> None:
        """Descends from sequences `[N, R, T, A]`."""
        actions = starts.clone().requires_grad_()
        optimizer = OPTIMIZERS[self.optimizer]([actions], lr=self.lr)
        for _ in search.iterations():
            _, actions.grad = search.gradient(actions.detach())
            optimizer.step()
            with torch.no_grad():
                if self.action_noise:
                    actions.add_(search.normal(actions.shape[1]), alpha=self.action_noise)
                actions.clamp_(-1, 1)
        search.score(actions.detach())
