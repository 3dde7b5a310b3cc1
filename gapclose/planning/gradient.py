"""Gradient descent on the action sequence, through the world model."""

from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.errors import UserError
from gapclose.planning.planner import Planner
from gapclose.planning.search import Search, cheaper
from gapclose.setting_types import NonNegative, Positive

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "momentum": lambda actions, lr: torch.optim.SGD(actions, lr=lr, momentum=0.9),
}


class GradientPlanner(Planner):
    """Descends the gradient of the cost from one or several starts, and returns the best of all iterates.

    *Closing the Train-Test Gap in World Models for Gradient-Based Planning* (arXiv 2512.09929, section 3).

    Where small errors grow, the cheapest plan may be one that rarely works in the simulator. With perturbations, the
    best iterate of each start is a candidate, and the plan is the candidate with the least mean cost under small
    perturbations of its actions: a sample average approximation (Shapiro, Dentcheva and Ruszczyński 2009, chapter 5).
    Tasks that reach `target_cost` keep the cheapest plan.

    Args:
        num_starts: number of sequences per task from which descent starts.
        optimizer: `adam`, `adamw`, `sgd` or `momentum` (SGD with momentum 0.9).
        lr: learning rate, in units of half the action range.
        action_noise: standard deviation of the noise added to the actions after each step, in the same units.
        num_perturbations: number of perturbed copies per start for the choice among the starts; 0 chooses by cost.
        perturbation: standard deviation of the perturbations, in the same units.
        settings: settings of `Planner`.

    Raises:
        UserError: there are perturbations, but only one start.
    """

    uses_gradients = True

    @validate_call
    def __init__(
        self,
        *,
        num_starts: PositiveInt = 1,
        optimizer: Literal["adam", "adamw", "sgd", "momentum"] = "adam",
        lr: Positive = 0.1,
        action_noise: NonNegative = 0.0,
        num_perturbations: NonNegativeInt = 0,
        perturbation: Positive = 0.01,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if num_perturbations and num_starts == 1:
            raise UserError(
                f"planner.num_perturbations is {num_perturbations} and planner.num_starts is 1, but perturbations only "
                "serve to choose among several starts; increase planner.num_starts, or set planner.num_perturbations=0."
            )
        self.num_starts, self.optimizer, self.lr = num_starts, optimizer, lr
        self.action_noise = action_noise
        self.num_perturbations, self.perturbation = num_perturbations, perturbation

    def search(self, search: Search, warm_start: Tensor | None) -> None:
        self.descend(search, self.initial_sequences(search, warm_start, self.num_starts))

    def descend(self, search: Search, starts: Tensor) -> None:
        """Descends from the sequences `starts [N, R, T, A]`."""
        actions = starts.clone().requires_grad_()
        best = starts, starts.new_full(starts.shape[:2], torch.inf)
        optimizer = OPTIMIZERS[self.optimizer]([actions], lr=self.lr)
        for _ in search.iterations():
            costs, actions.grad = search.costs_and_gradients(actions.detach())
            best = cheaper(*best, actions.detach(), costs)
            optimizer.step()
            with torch.no_grad():
                if self.action_noise:
                    actions.add_(search.normal(actions.shape[1]), alpha=self.action_noise)
                actions.clamp_(-1, 1)
        sequences, costs = cheaper(*best, actions.detach(), search.score(actions.detach()))
        if self.num_perturbations:
            noise = self.perturbation * search.normal(self.num_perturbations)
            search.choose_best(sequences, costs, search.perturbed_costs(sequences, noise))
