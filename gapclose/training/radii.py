"""How far an attack may move its inputs: fixed radii, radii that follow the data, radii that keep a target strength.

There are two groups of inputs, latents and actions, and whatever is `[2]` here is in that order. Radii are in units of
the standard deviation of each coordinate in the training data; latents are in these units already.
"""

import math
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, validate_call
from torch import Tensor, nn

from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel
from gapclose.settings import Fraction, NonNegative, Positive

GROUPS = ("latent", "action")


class FixedRadii(nn.Module):
    """Radii that stay as they are. State of other radii is in buffers, so that checkpoints carry it.

    Args:
        latent: radius of the latents.
        action: radius of the actions.
    """

    @validate_call
    def __init__(self, latent: NonNegative = 0.05, action: NonNegative = 0.02) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor([latent, action]))

    def forward(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Radius of every coordinate of latents `[B, M, ...]` and actions `[B, k, A]`, to be broadcast over both."""
        action_std = world_model.dynamics.action_std
        self.follow(latent, actions / action_std)
        latent_radius, action_radius = self.current()
        return latent_radius, action_radius * action_std

    @torch.no_grad()
    def scale(self, epsilon: float) -> None:
        """Multiplies both radii, or both factors."""
        self.factors.mul_(epsilon)

    def follow(self, latent: Tensor, actions: Tensor) -> None:
        """Takes note of the batch that is to be attacked, in units of the training data's standard deviation."""

    def current(self) -> Tensor:
        """The radii `[2]`."""
        return self.factors

    def adjust(self, strengths: Tensor) -> None:
        """Takes note of how strong the attack was, `[2]`: the loss with only the one group perturbed."""


class AdaptiveRadii(FixedRadii):
    """Factors times the standard deviation of each group over the batch, or over the batches so far.

    As in arXiv 2512.09929, section 3.2. On the training data itself this is what fixed radii are; data from elsewhere
    (planner rollouts) may be wider or narrower.

    Args:
        latent: factor of the latents.
        action: factor of the actions.
        momentum: share of the earlier estimate that stays at each batch; 0 is the batch alone.
    """

    @validate_call
    def __init__(self, latent: NonNegative = 0.05, action: NonNegative = 0.02, momentum: Fraction = 0.0) -> None:
        super().__init__(latent, action)
        self.momentum = momentum
        self.register_buffer("spread", torch.ones(2))  # That of the training data.

    @torch.no_grad()
    def follow(self, latent: Tensor, actions: Tensor) -> None:
        if self.training:
            # Members start from the same latents: dividing by the number of rows counts them once.
            variances = [x.flatten(0, 1).var(0, correction=0).mean() for x in (latent, actions)]
            self.spread.lerp_(torch.stack(variances).sqrt(), 1 - self.momentum)

    def current(self) -> Tensor:
        return self.factors * self.spread


class LearnedRadii(nn.Module):
    """Keeps the attack as strong as wanted: integral control of the logarithm of each group's radius or factor.

    `log r ← clamp(log r + rate · (log target - log strength))`; why, and when it is stable: docs/adversarial.md.

    Args:
        start: the radii to begin with; of `AdaptiveRadii` the factors are learned.
        target: strength wanted of each group: the loss with it alone perturbed; 1 is that of predicting no movement.
        rate: of the integral control; below 1 it is stable wherever the loss is quadratic in the radius.
        smallest: lower bound of radii or factors.
        largest: upper bound.

    Raises:
        UserError: the bounds exclude each other, or the start.
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
            raise UserError(f"The smallest radius is {smallest} and the largest {largest}; give them in order.")
        self.radii, self.target, self.rate = start, target, rate
        self.smallest, self.largest = smallest, largest
        self.check_start()

    def check_start(self) -> None:
        """Refuses radii to start with that are outside their bounds."""
        for group, radius in zip(GROUPS, self.radii.factors.tolist()):
            if not self.smallest * (1 - 1e-6) <= radius <= self.largest * (1 + 1e-6):
                raise UserError(
                    f"The {group} radius to start with is {radius:g}, outside its bounds {self.smallest:g} and "
                    f"{self.largest:g}; start between them."
                )

    def forward(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """As `FixedRadii.forward`."""
        return self.radii(world_model, latent, actions)

    def scale(self, epsilon: float) -> None:
        """Multiplies what they start from.

        Raises:
            UserError: that is outside their bounds.
        """
        self.radii.scale(epsilon)
        self.check_start()

    def current(self) -> Tensor:
        """The radii `[2]`."""
        return self.radii.current()

    @torch.no_grad()
    def adjust(self, strengths: Tensor) -> None:
        """Takes strengths `[2]` closer to the target."""
        # A strength that is no number changes nothing, and no single batch changes much.
        shortfall = (math.log(self.target) - strengths.log()).nan_to_num(0.0).clamp(-1, 1)
        self.radii.factors.mul_((self.rate * shortfall).exp()).clamp_(self.smallest, self.largest)
