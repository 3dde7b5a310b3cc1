"""The interface of dynamics: what predicts the next latent from the present one and an action."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.normalization import deviation


class Dynamics(nn.Module, ABC):
    """What predicts the next latent, in units of the training data: the scale of latent changes and of actions.

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        huber_delta: the training loss of an error beyond so many standard deviations of a step grows linearly, not as
            its square (Huber 1964), so that rare collisions do not drown everything else. None for the square.

    Attributes:
        members: number `M` of networks.
        context: of how many steps, the present one included, a prediction takes latents and actions into account. More
            than one take a method `predict`, as `WorldModel` has it.
    """

    members: int = 1
    context: int = 1

    def __init__(self, latent_dim: int, action_dim: int, huber_delta: float | None = None) -> None:
        super().__init__()
        self.huber_delta = huber_delta
        self.register_buffer("action_mean", torch.zeros(action_dim))
        self.register_buffer("action_std", torch.ones(action_dim))
        self.register_buffer("delta_std", torch.ones(latent_dim))

    def fit_normalization(self, deltas: Tensor, actions: Tensor) -> None:
        """Takes the scale of latent changes `[B, Z]`, and mean and standard deviation of actions `[B, A]`."""
        self.delta_std.copy_(deviation(deltas))
        self.action_mean.copy_(actions.mean(0))
        self.action_std.copy_(deviation(actions))

    def errors(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """What each coordinate of predictions `[..., M, Z]` contributes to the training loss, `[..., M, Z]`."""
        errors = (predictions - targets) / self.delta_std
        if self.huber_delta is None:
            return errors.square()
        return 2 * F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=self.huber_delta)

    @abstractmethod
    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`."""

    @abstractmethod
    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`."""
