"""Behaviours: what acts while data are collected, and so decides which part of the world they show."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.settings import NonNegative, Positive

Policy = Callable[[Tensor], Tensor]
"""The actions `[N, A]` in states `[N, S]`; it is asked once per step. They may leave the action bounds."""


class Behaviour(ABC):
    """A way to act in any simulator.

    Attributes:
        name: the name under which its data are filed.
        settings: all that determines it, beside its name.
    """

    name: str
    settings: dict[str, Any]

    @abstractmethod
    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        """How it acts in `N` trajectories with goals `[N, S]`; whatever is random is drawn from the generator."""


class Expert(Behaviour):
    """The simulator's scripted expert on its way to the goal, with independent Gaussian noise.

    Args:
        action_noise: standard deviation of the noise, as a fraction of the action bounds.
    """

    name = "expert"

    @validate_call
    def __init__(self, action_noise: NonNegative = 0.1) -> None:
        self.action_noise = action_noise
        self.settings = dict(action_noise=action_noise)

    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        scale = self.action_noise * (simulator.action_high - simulator.action_low) / 2

        def act(state: Tensor) -> Tensor:
            noise = torch.randn(len(state), simulator.action_dim, generator=generator)
            return simulator.expert_action(state, goal) + scale * noise

        return act


class Tour(Expert):
    """The scripted expert, with noise, on its way to one goal after another: its own, then other trajectories'.

    Where an expert that has arrived stays and shows nothing more, a long trajectory keeps showing something.

    Args:
        action_noise: as in `Expert`.
        steps_per_goal: after so many steps the next goal follows.
    """

    name = "tour"

    @validate_call
    def __init__(self, action_noise: NonNegative = 0.1, steps_per_goal: PositiveInt = 10) -> None:
        super().__init__(action_noise)
        self.steps_per_goal = steps_per_goal
        self.settings |= dict(steps_per_goal=steps_per_goal)

    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        act, step = super().policy(simulator, goal, generator), 0

        def act_and_turn(state: Tensor) -> Tensor:
            nonlocal act, step
            if step and step % self.steps_per_goal == 0:
                others = goal[torch.randperm(len(goal), generator=generator)]
                act = super(Tour, self).policy(simulator, others, generator)
            step += 1
            return act(state)

        return act_and_turn


class RandomWalk(Behaviour):
    """No expert and no goal: actions are a stationary first-order autoregressive process.

    Args:
        correlation: of each action with the one before; 0 is white noise.
        std: standard deviation of the actions, as a fraction of the action bounds; beyond them they are clipped.
    """

    name = "random_walk"

    @validate_call
    def __init__(self, correlation: Annotated[float, Field(ge=0, lt=1)] = 0.7, std: Positive = 0.7) -> None:
        self.correlation, self.std = correlation, std
        self.settings = dict(correlation=correlation, std=std)

    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        low, high = simulator.action_low, simulator.action_high
        middle, scale = (low + high) / 2, self.std * (high - low) / 2

        def draw() -> Tensor:
            return torch.randn(len(goal), simulator.action_dim, generator=generator)

        walk = draw()

        def act(state: Tensor) -> Tensor:
            nonlocal walk
            action = middle + scale * walk
            walk = self.correlation * walk + (1 - self.correlation**2) ** 0.5 * draw()
            return action

        return act


class Mixture(Behaviour):
    """Some trajectories by one behaviour and some by another, evenly interleaved: every part of the data is a mixture.

    Args:
        parts: the behaviours, by names of their own.
        shares: how many of the trajectories are whose, relative to one another; the names are those of the parts.

    Raises:
        UserError: parts and shares do not go by the same names.
    """

    name = "mixture"

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, parts: dict[str, Behaviour], shares: dict[str, Positive]) -> None:
        if parts.keys() != shares.keys() or not parts:
            raise UserError(
                f"The mixture has parts {', '.join(sorted(parts))} and shares {', '.join(sorted(shares))}; "
                "give each part its share."
            )
        # The parts draw one after the other, and equal settings must mean equal data however they are written.
        self.parts = dict(sorted(parts.items()))
        self.shares = {name: shares[name] / sum(shares.values()) for name in self.parts}
        self.settings = {
            name: dict(name=part.name, share=self.shares[name], **part.settings) for name, part in self.parts.items()
        }

    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        rows = self.rows(len(goal))
        policies = [part.policy(simulator, goal[own], generator) for part, own in zip(self.parts.values(), rows)]

        def act(state: Tensor) -> Tensor:
            actions = state.new_empty(len(state), simulator.action_dim)
            for own, policy in zip(rows, policies):
                actions[own] = policy(state[own])
            return actions

        return act

    def rows(self, n: int) -> list[Tensor]:
        """Which of `n` trajectories are whose, for each part in order."""
        ends = (n * torch.tensor([0.0, *self.shares.values()], dtype=torch.float64).cumsum(0)).round().long().tolist()
        sizes = [end - begin for begin, end in pairwise(ends)]
        # Each part's trajectories lie at equal distances over the whole.
        places = torch.cat([(torch.arange(size) + 0.5) / size for size in sizes])
        owners = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[places.argsort(stable=True)]
        return [(owners == part).nonzero().squeeze(1) for part in range(len(sizes))]
