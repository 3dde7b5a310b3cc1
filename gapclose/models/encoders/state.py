"""From observations to latents."""

from collections.abc import Sequence

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.normalization import deviation


class StateEncoder(nn.Module):
    """The observation is the state, and its latent is the state in units of the training data's standard deviation.

    Sine and cosine of an angle have mean 0 and one scale in common, whatever the data, so that the circle stays a
    circle. What is decoded is put back onto it. Imagined latents are not: a rollout goes on from what was predicted, as
    from every other coordinate, and the error says how far that has strayed.

    Args:
        state_dim: number `S` of state coordinates.
        angles: which pairs of them are sine and cosine of an angle.
        alike: groups of them that are of one kind, such as positions in the same plane: they have mean and standard
            deviation in common, so that differences and directions keep their meaning.
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
        """Takes mean and standard deviation of observations `[B, S]`."""
        self.mean.copy_(observations.mean(0))
        self.std.copy_(deviation(observations))
        for group in self.alike:
            together = observations[:, group].reshape(-1, 1)
            self.mean[group], self.std[group] = together.mean(), deviation(together)
        for pair in self.angles:
            self.mean[pair], self.std[pair] = 0.0, 0.5**0.5  # Those of an angle that may be any.

    def forward(self, observation: Tensor) -> Tensor:
        """Latents `[..., S]` of observations `[..., S]`."""
        return (observation - self.mean) / self.std

    def decode(self, latent: Tensor) -> Tensor:
        """States `[..., S]` of latents `[..., S]`."""
        state = self.mean + self.std * latent
        for pair in self.angles:
            state[..., pair] = F.normalize(state[..., pair], dim=-1)
        return state
