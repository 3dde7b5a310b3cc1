"""Attacks: perturbations of latents and actions that maximise the world model's error. Their radii are in `radii`."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, validate_call
from torch import Tensor, nn

from gapclose.errors import UserError
from gapclose.models.world_model import LearnedWorldModel, frozen
from gapclose.setting_types import Positive
from gapclose.training.radii import FixedRadii, LearnedRadii


class Perturbation(NamedTuple):
    """Perturbations that are added to the inputs of a rollout.

    Attributes:
        latent: perturbation of the latents that it starts from, `[B, F, M, ...]`.
        actions: perturbation of the actions, `[B, k, A]`.
    """

    latent: Tensor
    actions: Tensor


class Ball(ABC):
    """The unit ball of a norm over the last axis, that of a member's latent or a step's action."""

    @staticmethod
    @abstractmethod
    def sample(like: Tensor) -> Tensor:
        """Draws points `[..., D]` uniformly from the ball."""

    @staticmethod
    @abstractmethod
    def steepest(gradient: Tensor) -> Tensor:
        """Returns the points of the ball farthest along gradients `[..., D]`; 0 where the gradient is 0."""

    @staticmethod
    @abstractmethod
    def project(points: Tensor) -> Tensor:
        """Projects points `[..., D]` onto the ball."""


class LInf(Ball):
    """The ball of the maximum norm."""

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
    """The ball of the Euclidean norm."""

    @staticmethod
    def sample(like: Tensor) -> Tensor:
        direction = torch.nn.functional.normalize(torch.randn_like(like), dim=-1)
        return direction * torch.rand_like(like[..., :1]).pow(1 / like.shape[-1])

    @staticmethod
    def steepest(gradient: Tensor) -> Tensor:
        # Scaled first, because gradients can be so small that their squares are 0.
        scaled = gradient / gradient.abs().amax(-1, keepdim=True)
        return (scaled / scaled.norm(dim=-1, keepdim=True)).nan_to_num_(0.0)

    @staticmethod
    def project(points: Tensor) -> Tensor:
        return points / points.norm(dim=-1, keepdim=True).clamp(min=1)


BALLS = {"linf": LInf, "l2": L2}


class ProjectedGradient(nn.Module):
    """Gradient ascent on the error of a rollout from a random start, projected onto a ball after each step.

    Projected gradient descent of Madry et al. 2018 (arXiv 1706.06083, section 2.1). With one step of 1.25 × the radius
    and `keep_best=False`, it is the FGSM of arXiv 2512.09929, section 3.2. Each member's latent and each step's action
    has its own ball, so a radius means the same for windows of any length.

    Args:
        radii: largest perturbations of latents and actions.
        steps: number of ascent steps; with 0, the perturbation is random.
        step_ratio: step size as a multiple of the radius.
        restarts: number of random starts.
        keep_best: whether to return, for each window, the perturbation with the largest error among all iterates of
            all starts, including the random starts; otherwise the last iterate, which saves a rollout.
        norm: norm of the balls, `linf` (steps along the gradient's sign) or `l2` (steps along the gradient).

    Raises:
        UserError: there are several starts, but `keep_best` is false.
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
            raise UserError(f"restarts is {restarts}, but keep_best is false; set keep_best=true, or restarts=1.")
        self.radii, self.steps, self.step_ratio, self.restarts = radii, steps, step_ratio, restarts
        self.keep_best, self.norm = keep_best, norm

    def perturb(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor) -> Perturbation:
        """Returns the perturbation of the arguments of `rollout_loss`; no gradients reach the model's parameters."""
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
                    # Points are in the unit ball, so the step in units of the inputs is step_ratio times the radius.
                    ascents = ((p, ball.steepest(gradient)) for p, gradient in zip(points, gradients))
                    iterates.append([ball.project(p.add(step, alpha=self.step_ratio)) for p, step in ascents])
                errors.append(error.detach())
            if self.keep_best:
                with torch.no_grad():
                    errors.append(rollout_errors(iterates[-1]))
        chosen = select_largest(iterates, errors, len(latent)) if self.keep_best else iterates[-1]
        return Perturbation(*(radius * point for radius, point in zip(radii, chosen)))


def select_largest(iterates: list[list[Tensor]], errors: list[Tensor], windows: int) -> list[Tensor]:
    """Returns the points with the largest error for each window.

    Args:
        iterates: for each iterate, the points `[restarts · windows, ...]` of latents and of actions.
        errors: for each iterate, the errors `[restarts · windows]`; NaN is never chosen.
        windows: number of windows.

    Returns:
        Points `[windows, ...]` of latents and of actions.
    """
    best = torch.cat(errors).view(-1, windows).nan_to_num(-torch.inf).argmax(0)
    columns = torch.arange(windows, device=best.device)
    return [torch.cat(points).unflatten(0, (-1, windows))[best, columns] for points in zip(*iterates)]
