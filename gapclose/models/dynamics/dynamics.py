"""The interface of dynamics: networks that predict the next latent from the present one and an action."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.normalization import safe_std


class Dynamics(nn.Module, ABC):
    """Predicts the next latent; inputs and outputs are normalised by the scales of the training data.

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        huber_delta: error, in standard deviations of a step, beyond which the training loss grows linearly instead of
            quadratically (Huber 1964), so that rare collisions do not dominate it. `None` means quadratic throughout.

    Attributes:
        members: number `M` of networks.
        context: number of steps, including the present one, whose latents and actions a prediction depends on. Dynamics
            with more than one need a method `predict` like that of `WorldModel`.
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
        """Sets the scale of latent changes `[B, Z]`, and mean and standard deviation of actions `[B, A]`."""
        self.delta_std.copy_(safe_std(deltas))
        self.action_mean.copy_(actions.mean(0))
        self.action_std.copy_(safe_std(actions))

    def errors(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Training loss `[..., M, Z]` of each coordinate of predictions `[..., M, Z]`."""
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
