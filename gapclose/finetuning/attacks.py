"""Perturbations of latents and actions that make the world model's error large."""

from typing import NamedTuple

import torch
from pydantic import validate_call
from torch import Tensor

from gapclose.models.world_model import LearnedWorldModel
from gapclose.settings import NonNegative, Positive


class Perturbation(NamedTuple):
    """What is added to the inputs of a rollout.

    Attributes:
        latent: to where it starts, `[B, M, ...]`.
        actions: `[B, k, A]`.
    """

    latent: Tensor
    actions: Tensor


class FGSM:
    """The fast gradient sign method from a random start, as in arXiv 2512.09929, section 3.2.

    A uniform start in the l∞ ball, one step along the sign of the gradient, and a projection back onto the ball.

    Args:
        latent_radius: radius in each latent coordinate. Latents are in units of the data's standard deviation.
        action_radius: radius in each action coordinate, in units of the actions' standard deviation in the data.
        step_ratio: step size as a multiple of the radius.
    """

    @validate_call
    def __init__(self, latent_radius: NonNegative, action_radius: NonNegative, step_ratio: Positive = 1.25) -> None:
        self.latent_radius = latent_radius
        self.action_radius = action_radius
        self.step_ratio = step_ratio

    def perturb(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor) -> Perturbation:
        """The perturbation of what `rollout_loss` takes; its gradient is taken for the perturbation only."""
        radii = Perturbation(
            torch.full_like(latent, self.latent_radius),
            self.action_radius * world_model.dynamics.action_std.expand_as(actions),
        )
        with torch.enable_grad():
            start = [(radius * (2 * torch.rand_like(radius) - 1)).requires_grad_() for radius in radii]
            loss = world_model.rollout_loss(latent + start[0], actions + start[1], targets)
            gradients = torch.autograd.grad(loss, start)
        with torch.no_grad():
            return Perturbation(
                *(
                    (delta + self.step_ratio * radius * gradient.sign()).clamp(-radius, radius)
                    for delta, radius, gradient in zip(start, radii, gradients)
                )
            )
