"""From observations to latents."""

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor, nn


class StateEncoder(nn.Module):
    """The observation is the state, and its latent is the state in units of the training data's standard deviation.

    Args:
        state_dim: number `S` of state coordinates.
    """

    @validate_call
    def __init__(self, state_dim: PositiveInt) -> None:
        super().__init__()
        self.latent_dim = state_dim
        self.register_buffer("mean", torch.zeros(state_dim))
        self.register_buffer("std", torch.ones(state_dim))

    def fit_normalization(self, observations: Tensor) -> None:
        """Takes mean and standard deviation of observations `[B, S]`."""
        self.mean.copy_(observations.mean(0))
        self.std.copy_(observations.std(0).clamp(min=1e-6))

    def forward(self, observation: Tensor) -> Tensor:
        """Latents `[..., S]` of observations `[..., S]`."""
        return (observation - self.mean) / self.std

    def decode(self, latent: Tensor) -> Tensor:
        """States `[..., S]` of latents `[..., S]`."""
        return self.mean + self.std * latent
