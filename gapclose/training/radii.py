"""Radii of attacks: fixed, adapted to the data, or learned to reach a target strength.

There are two groups of inputs, latents and actions; tensors `[2]` are in this order. Radii are in units of the standard
deviation of each coordinate in the training data. Latents have these units already.
"""

import math
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, validate_call
from torch import Tensor, nn

from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel
from gapclose.setting_types import Fraction, NonNegative, Positive

GROUPS = ("latent", "action")


class FixedRadii(nn.Module):
    """Constant radii, and the base class of radii that change. All state is in buffers and so part of checkpoints.

    Args:
        latent: radius of the latents.
        action: radius of the actions.
    """

    @validate_call
    def __init__(self, latent: NonNegative = 0.05, action: NonNegative = 0.02) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor([latent, action]))

    def forward(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the radii of the coordinates of latents `[B, M, ...]` and actions `[B, k, A]`, to be broadcast."""
        action_std = world_model.dynamics.action_std
        self.observe_batch(latent, actions / action_std)
        latent_radius, action_radius = self.current()
        return latent_radius, action_radius * action_std

    @torch.no_grad()
    def scale(self, epsilon: float) -> None:
        """Multiplies both radii, or both factors."""
        self.factors.mul_(epsilon)

    def observe_batch(self, latent: Tensor, actions: Tensor) -> None:
        """Updates the radii from the batch to be attacked, in units of the training data's std; here, does nothing."""

    def current(self) -> Tensor:
        """The radii `[2]`."""
        return self.factors

    def adjust(self, strengths: Tensor) -> None:
        """Updates the radii from strengths `[2]`, the loss with only one group perturbed; here, does nothing."""


class AdaptiveRadii(FixedRadii):
    """Radii in proportion to the standard deviation of each group over the batch, or over the batches so far.

    As in arXiv 2512.09929, section 3.2. On the training data, they equal fixed radii; other data (planner rollouts) may
    have a larger or smaller spread.

    Args:
        latent: factor of the latents.
        action: factor of the actions.
        momentum: share of the old estimate that is kept at each batch; 0 uses the batch alone.
    """

    @validate_call
    def __init__(self, latent: NonNegative = 0.05, action: NonNegative = 0.02, momentum: Fraction = 0.0) -> None:
        super().__init__(latent, action)
        self.momentum = momentum
        self.register_buffer("spread", torch.ones(2))  # The spread of the training data.

    @torch.no_grad()
    def observe_batch(self, latent: Tensor, actions: Tensor) -> None:
        if self.training:
            # With correction=0, the copies of a latent for the members of an ensemble do not change its variance.
            variances = [x.flatten(0, 1).var(0, correction=0).mean() for x in (latent, actions)]
            self.spread.lerp_(torch.stack(variances).sqrt(), 1 - self.momentum)

    def current(self) -> Tensor:
        return self.factors * self.spread


class LearnedRadii(nn.Module):
    """Radii that keep the attack at a target strength, by integral control of the logarithm of each radius or factor.

    `log r ← clamp(log r + rate · (log target - log strength))`. docs/adversarial.md explains why, and when it is
    stable.

    Args:
        start: the initial radii; with `AdaptiveRadii`, their factors are learned.
        target: target strength of each group: the loss with only this group perturbed; predicting no movement has 1.
        rate: gain of the integral control; below 1 it is stable wherever the loss is quadratic in the radius.
        smallest: lower bound of radii or factors.
        largest: upper bound of radii or factors.

    Raises:
        UserError: `smallest` exceeds `largest`, or the initial radii are outside these bounds.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        start: FixedRadii,
        target: Positive = 0.03,
        rate: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        smallest: Positive = 1e-4,
        largest: Positive = 0.5,
    ) -> None:
        super().__init__()
        if smallest > largest:
            raise UserError(
                f"The smallest radius is {smallest} and the largest {largest}; give a smallest that is not above the "
                "largest."
            )
        self.radii, self.target, self.rate = start, target, rate
        self.smallest, self.largest = smallest, largest
        self.check_start()

    def check_start(self) -> None:
        """Raises `UserError` if the initial radii are outside their bounds."""
        for group, radius in zip(GROUPS, self.radii.factors.tolist()):
            if not self.smallest * (1 - 1e-6) <= radius <= self.largest * (1 + 1e-6):
                raise UserError(
                    f"The initial {group} radius is {radius:g}, outside its bounds {self.smallest:g} and "
                    f"{self.largest:g}; choose one between them."
                )

    def forward(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Same as `FixedRadii.forward`."""
        return self.radii(world_model, latent, actions)

    def scale(self, epsilon: float) -> None:
        """Multiplies the initial radii or factors.

        Raises:
            UserError: the result is outside their bounds.
        """
        self.radii.scale(epsilon)
        self.check_start()

    def current(self) -> Tensor:
        """The radii `[2]`."""
        return self.radii.current()

    @torch.no_grad()
    def adjust(self, strengths: Tensor) -> None:
        """Moves the radii so that the strengths `[2]` approach the target."""
        # NaN strengths change nothing, and the clamp limits the effect of a single batch.
        shortfall = (math.log(self.target) - strengths.log()).nan_to_num(0.0).clamp(-1, 1)
        self.radii.factors.mul_((self.rate * shortfall).exp()).clamp_(self.smallest, self.largest)
