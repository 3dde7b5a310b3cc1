"""Initial action sequences of a search. All actions here are normalised: the bounds are -1 and 1."""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.models.policy import GoalConditionedPolicy
from gapclose.planning.search import Search
from gapclose.setting_types import NonNegative


class Init(ABC):
    """A distribution of action sequences. All tasks of a search share the random numbers."""

    @abstractmethod
    def draw(self, search: Search, k: int) -> Tensor:
        """Draws `k` sequences for each task of the search, `[N, k, T, A]`; they may exceed the bounds."""


class Zeros(Init):
    """Always the middle of the action bounds."""

    def draw(self, search: Search, k: int) -> Tensor:
        return search.best.new_zeros(search.shape(k))


class Normal(Init):
    """Independent standard Gaussians."""

    def draw(self, search: Search, k: int) -> Tensor:
        return search.normal(k)


class Knots(Init):
    """Piecewise constant sequences, uniform within the bounds, which travel far.

    Args:
        num_knots: number of pieces, all of equal length.
    """

    @validate_call
    def __init__(self, num_knots: PositiveInt = 4) -> None:
        self.num_knots = num_knots

    def draw(self, search: Search, k: int) -> Tensor:
        _, _, steps, action_dim = search.shape(k)
        knots = 2 * torch.rand(k, self.num_knots, action_dim, generator=search.generator) - 1
        return search.for_all_tasks(hold(knots, steps))


class Colored(Init):
    """Gaussian noise with the power spectral density `1 / f^exponent` over time, of variance 1.

    Timmer and König 1995; for planning: Pinneri et al. 2020 (arXiv 2008.06389, section 3.1).

    Args:
        exponent: 0 is white noise; larger exponents give actions that change more slowly.
    """

    @validate_call
    def __init__(self, exponent: Annotated[float, Field(ge=0, le=10)] = 2.0) -> None:
        self.exponent = exponent

    def draw(self, search: Search, k: int) -> Tensor:
        return colored_noise(search, k, self.exponent)


class PolicyRollouts(Init):
    """Rollouts of a goal-conditioned policy through the world model: a learned proposal distribution.

    The first sequence of each task is the policy's own; the others have noise on their actions.

    Args:
        noise: standard deviation of the noise on the actions, in units of half the action range.
    """

    @validate_call
    def __init__(self, noise: NonNegative = 0.3) -> None:
        self.noise = noise
        self.policy: GoalConditionedPolicy | None = None
        """The policy, trained on the run's collected data; the run sets it."""

    @torch.no_grad()
    def draw(self, search: Search, k: int) -> Tensor:
        noise = self.noise * search.normal(k)
        noise[:, :1] = 0
        latent, goal = (x.repeat_interleave(k, 0) for x in (search.start, search.goal))
        goal, actions, policy = search.world_model.decode(goal), [], self.policy.to(goal.device)
        for step in noise.flatten(0, 1).unbind(1):
            action = (policy(search.world_model.decode(latent), goal) + step).clamp(-1, 1)
            actions.append(action)
            latent = search.world_model.step(latent, search.bounds.denormalize(action))
        search.count_calls(len(latent) * search.steps, False)
        return torch.stack(actions, 1).view(search.shape(k))


def hold(knots: Tensor, steps: int) -> Tensor:
    """Returns sequences `[..., T, A]` that hold each of the knots `[..., K, A]` for an equal part of the horizon."""
    return knots[..., torch.arange(steps) * knots.shape[-2] // steps, :]


def colored_noise(search: Search, k: int, exponent: float) -> Tensor:
    """Draws noise `[N, k, T, A]` of variance 1 and power spectral density `1 / f^exponent` over time."""
    _, _, steps, action_dim = search.shape(k)
    if steps == 1 or k == 0:
        return search.normal(k)
    frequencies = torch.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1]
    amplitudes = frequencies ** (-exponent / 2)
    parts = torch.randn(2, k, action_dim, len(amplitudes), generator=search.generator)
    parts[1, ..., 0] = 0  # Mean and Nyquist frequency (for even lengths) are real.
    parts[0, ..., 0] *= 2**0.5
    if steps % 2 == 0:
        parts[1, ..., -1] = 0
        parts[0, ..., -1] *= 2**0.5
    powers = amplitudes.square()
    last = powers[-1] if steps % 2 == 0 else 2 * powers[-1]
    variance = 2 * (powers[0] + 2 * powers[1:-1].sum() + last) / steps**2
    noise = torch.fft.irfft(torch.complex(*parts) * amplitudes, n=steps) / variance.sqrt()
    return search.for_all_tasks(noise.transpose(-1, -2))
