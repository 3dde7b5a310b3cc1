"""A goal-conditioned policy that imitates its training data. It is trained in `training.behaviour_cloning`."""

from itertools import pairwise

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor, nn

from gapclose.data.trajectories import Trajectories
from gapclose.errors import UserError
from gapclose.models.normalization import safe_std
from gapclose.setting_types import Layers

MOST_WEIGHTS = 10**8
"""Bound on the size of a policy: its settings may come from a checkpoint, which has no weights of it."""


class GoalConditionedPolicy(nn.Module):
    """A multilayer perceptron from a state and a goal to a normalised action (-1 and 1 are the action bounds).

    Args:
        state_dim: number `S` of state coordinates.
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.

    Raises:
        UserError: it has more than `MOST_WEIGHTS` weights.
    """

    @validate_call(config=dict(arbitrary_types_allowed=True))
    def __init__(
        self,
        state_dim: PositiveInt,
        action_low: Tensor,
        action_high: Tensor,
        hidden_dim: PositiveInt = 256,
        num_layers: Layers = 2,
    ) -> None:
        super().__init__()
        if (2 * state_dim + (num_layers - 1) * hidden_dim) * hidden_dim > MOST_WEIGHTS:
            raise UserError(
                f"policy.network.hidden_dim is {hidden_dim} and policy.network.num_layers is {num_layers}, which is "
                f"more than {MOST_WEIGHTS:,} weights; reduce one of them."
            )
        sizes = [2 * state_dim, *[hidden_dim] * num_layers]
        layers = [layer for ends in pairwise(sizes) for layer in (nn.Linear(*ends), nn.SiLU())]
        self.network = nn.Sequential(*layers, nn.Linear(hidden_dim, len(action_low)))
        self.register_buffer("mean", torch.zeros(state_dim))
        self.register_buffer("std", torch.ones(state_dim))
        self.register_buffer("action_middle", (action_high + action_low) / 2)
        self.register_buffer("action_half_range", (action_high - action_low) / 2)

    def fit_normalization(self, trajectories: Trajectories) -> None:
        """Sets mean and standard deviation of the states from the training data."""
        states = trajectories.states.flatten(0, 1)
        self.mean.copy_(states.mean(0))
        self.std.copy_(safe_std(states))

    def forward(self, state: Tensor, goal: Tensor) -> Tensor:
        """Returns normalised actions `[..., A]`, not clipped to the bounds, for states and goals `[..., S]`."""
        return self.network(torch.cat(((state - self.mean) / self.std, (goal - state) / self.std), -1))

    def loss(self, state: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        """Mean squared error of the normalised actions, a scalar, for actions `[..., A]` in the simulator's units."""
        target = (action - self.action_middle) / self.action_half_range
        return (self(state, goal) - target).square().mean()
