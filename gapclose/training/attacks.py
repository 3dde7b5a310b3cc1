"""Perturbations of latents and actions that make the world model's error large."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, validate_call
from torch import Tensor, nn

from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel, frozen
from gapclose.settings import Positive
from gapclose.training.radii import FixedRadii, LearnedRadii


class Perturbation(NamedTuple):
    """What is added to the inputs of a rollout.

    Attributes:
        latent: to what it starts from, `[B, F, M, ...]`.
        actions: `[B, k, A]`.
    """

    latent: Tensor
    actions: Tensor


class Ball(ABC):
    """The unit ball of a norm over the last axis: the latent of one member, or the action of one step."""

    @staticmethod
    @abstractmethod
    def sample(like: Tensor) -> Tensor:
        """Points `[..., D]`, uniformly distributed in the ball."""

    @staticmethod
    @abstractmethod
    def steepest(gradient: Tensor) -> Tensor:
        """The points of the ball that are farthest along gradients `[..., D]`; 0 where there is no gradient."""

    @staticmethod
    @abstractmethod
    def project(points: Tensor) -> Tensor:
        """The points of the ball that are nearest to points `[..., D]`."""


class LInf(Ball):
    """The largest coordinate is at most 1."""

    @staticmethod
    def sample(like: Tensor) -> Tensor:
        return torch.empty_like(like, memory_format=torch.contiguous_format).uniform_(-1, 1)

    @staticmethod
    def steepest(gradient: Tensor) -> Tensor:
        return gradient.sign().nan_to_num_(0.0)

    @staticmethod
    def project(points: Tensor) -> Tensor:
        return points.clamp(-1, 1)


class L2(Ball):
    """The Euclidean length is at most 1."""

    @staticmethod
    def sample(like: Tensor) -> Tensor:
        direction = torch.nn.functional.normalize(torch.randn_like(like), dim=-1)
        return direction * torch.rand_like(like[..., :1]).pow(1 / like.shape[-1])

    @staticmethod
    def steepest(gradient: Tensor) -> Tensor:
        # Gradients can be so small that their squares are 0.
        scaled = gradient / gradient.abs().amax(-1, keepdim=True)
        return (scaled / scaled.norm(dim=-1, keepdim=True)).nan_to_num_(0.0)

    @staticmethod
    def project(points: Tensor) -> Tensor:
        return points / points.norm(dim=-1, keepdim=True).clamp(min=1)


BALLS = {"linf": LInf, "l2": L2}


class ProjectedGradient(nn.Module):
    """Ascends the error of a rollout from a random start, and projects onto a ball after each step.

    Projected gradient descent of Madry et al. 2018 (arXiv 1706.06083, section 2.1). With one step of 1.25 × the radius,
    the end of which counts, it is the FGSM of arXiv 2512.09929, section 3.2. Each member's latent has a ball of its
    own, and so has the action of each step, so that a radius means the same for windows of any length.

    Args:
        radii: how far latents and actions may be moved.
        steps: of the ascent; with none the perturbation is random.
        step_ratio: step size as a multiple of the radius.
        restarts: number of random starts.
        keep_best: whether, for each window by itself, the largest error of all starts and iterates counts, the random
            starts among them, or else the end of the only ascent, which saves a rollout.
        norm: of the balls, `linf` or `l2`; each step goes along the gradient's sign, or along the gradient.

    Raises:
        UserError: there are several starts, of which none is chosen.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        radii: FixedRadii | LearnedRadii,
        steps: NonNegativeInt = 1,
        step_ratio: Positive = 1.25,
        restarts: PositiveInt = 1,
        keep_best: bool = False,
        norm: Literal["linf", "l2"] = "linf",
    ) -> None:
        super().__init__()
        if restarts > 1 and not keep_best:
            raise UserError(f"restarts is {restarts}, but the best is not kept; set keep_best=true, or restarts=1.")
        self.radii, self.steps, self.step_ratio, self.restarts = radii, steps, step_ratio, restarts
        self.keep_best, self.norm = keep_best, norm

    def perturb(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor) -> Perturbation:
        """The perturbation of what `rollout_loss` takes; its gradient is taken for the perturbation only."""
        ball, radii = BALLS[self.norm], self.radii(world_model, latent, actions)
        inputs = [x.expand(self.restarts, *x.shape).flatten(0, 1) for x in (latent, actions)]
        targets = targets.expand(self.restarts, *targets.shape).flatten(0, 1)

        def rollout_errors(points: list[Tensor]) -> Tensor:
            moved = (torch.addcmul(x, radius, point) for x, radius, point in zip(inputs, radii, points))
            return world_model.rollout_errors(*moved, targets).flatten(1).mean(1)

        iterates, errors = [[ball.sample(x) for x in inputs]], []
        with frozen(world_model):
            for _ in range(self.steps):
                points = [point.detach().requires_grad_() for point in iterates[-1]]
                with torch.enable_grad():
                    error = rollout_errors(points)
                    gradients = torch.autograd.grad(error.sum(), points)
                with torch.no_grad():
                    ascents = ((p, ball.steepest(gradient)) for p, gradient in zip(points, gradients))
                    iterates.append([ball.project(p.add(step, alpha=self.step_ratio)) for p, step in ascents])
                errors.append(error.detach())
            if self.keep_best:
                with torch.no_grad():
                    errors.append(rollout_errors(iterates[-1]))
        chosen = largest(iterates, errors, len(latent)) if self.keep_best else iterates[-1]
        return Perturbation(*(radius * point for radius, point in zip(radii, chosen)))


def largest(iterates: list[list[Tensor]], errors: list[Tensor], windows: int) -> list[Tensor]:
    """For each window, the points with the largest error.

    Args:
        iterates: for each iterate, the points `[restarts · windows, ...]` of both groups.
        errors: their errors, `[restarts · windows]`; one that is no number is none to look for.
        windows: how many there are.

    Returns:
        Points `[windows, ...]` of both groups.
    """
    best = torch.cat(errors).view(-1, windows).nan_to_num(-torch.inf).argmax(0)
    every = torch.arange(windows, device=best.device)
    return [torch.cat(points).unflatten(0, (-1, windows))[best, every] for points in zip(*iterates)]
