"""The encoder of state observations: normalisation."""

from collections.abc import Sequence

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.normalization import safe_std


class StateEncoder(nn.Module):
    """Normalises states: latents are in units of the training data's standard deviation.

    The sine and cosine of an angle get mean 0 and a common scale, independent of the data, so that the circle stays a
    circle. Decoded states are projected back onto it. Imagined latents are not projected: a rollout continues from the
    prediction as it is, and the error includes any departure from the circle.

    Args:
        state_dim: number `S` of state coordinates.
        angles: pairs of coordinates that are the sine and cosine of an angle.
        alike: groups of coordinates of the same kind, such as positions in the same plane. They share mean and standard
            deviation, so that differences and directions keep their meaning.
    """

    @validate_call
    def __init__(
        self,
        state_dim: PositiveInt,
        angles: Sequence[tuple[NonNegativeInt, NonNegativeInt]] = (),
        alike: Sequence[tuple[NonNegativeInt, ...]] = (),
    ) -> None:
        super().__init__()
        self.latent_dim = state_dim
        self.angles, self.alike = [list(pair) for pair in angles], [list(group) for group in alike]
        self.register_buffer("mean", torch.zeros(state_dim))
        self.register_buffer("std", torch.ones(state_dim))

    def fit_normalization(self, observations: Tensor) -> None:
        """Sets mean and standard deviation from observations `[B, S]`."""
        self.mean.copy_(observations.mean(0))
        self.std.copy_(safe_std(observations))
        for group in self.alike:
            together = observations[:, group].reshape(-1, 1)
            self.mean[group], self.std[group] = together.mean(), safe_std(together)
        for pair in self.angles:
            self.mean[pair], self.std[pair] = 0.0, 0.5**0.5  # Mean and std for a uniform angle.

    def forward(self, observation: Tensor) -> Tensor:
        """Encodes observations `[..., S]` into latents `[..., S]`."""
        return (observation - self.mean) / self.std

    def decode(self, latent: Tensor) -> Tensor:
        """Decodes latents `[..., S]` into states `[..., S]`."""
        state = self.mean + self.std * latent
        for pair in self.angles:
            state[..., pair] = F.normalize(state[..., pair], dim=-1)
        return state
