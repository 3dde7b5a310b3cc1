"""Behaviours: the policies that collect data. They decide which part of the state space the data cover."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.setting_types import NonNegative, Positive

Policy = Callable[[Tensor], Tensor]
"""Maps states `[N, S]` to actions `[N, A]`, called once per step. The actions may exceed the action bounds."""


class Behaviour(ABC):
    """A way to act in any simulator.

    Attributes:
        name: name in file names and log lines.
        settings: all settings that determine it, except its name.
    """

    name: str
    settings: dict[str, Any]

    @abstractmethod
    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        """Returns the policy for `N` trajectories with goals `[N, S]`; all randomness comes from the generator."""


class Expert(Behaviour):
    """The simulator's scripted expert, with independent Gaussian noise on its actions.

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
    """The scripted expert, with noise, on a tour of goals: first its own, then those of other trajectories.

    An expert that has reached its goal stays there; a tour keeps moving, so that long trajectories stay informative.

    Args:
        action_noise: as in `Expert`.
        steps_per_goal: number of steps after which the goal changes.
    """

    name = "tour"

    @validate_call
    def __init__(self, action_noise: NonNegative = 0.1, steps_per_goal: PositiveInt = 10) -> None:
        super().__init__(action_noise)
        self.steps_per_goal = steps_per_goal
        self.settings |= dict(steps_per_goal=steps_per_goal)

    def policy(self, simulator: Simulator, goal: Tensor, generator: torch.Generator) -> Policy:
        act, step = super().policy(simulator, goal, generator), 0

        def act_on_tour(state: Tensor) -> Tensor:
            nonlocal act, step
            if step and step % self.steps_per_goal == 0:
                others = goal[torch.randperm(len(goal), generator=generator)]
                act = super(Tour, self).policy(simulator, others, generator)
            step += 1
            return act(state)

        return act_on_tour


class RandomWalk(Behaviour):
    """Random actions without expert or goal: a stationary first-order autoregressive process.

    Args:
        correlation: correlation of each action with the previous one; 0 is white noise.
        std: standard deviation of the actions, as a fraction of the action bounds, to which they are clipped.
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
    """Several behaviours, each of which collects a share of the trajectories.

    Their trajectories are evenly interleaved, so that every split of the data is the same mixture.

    Args:
        parts: the behaviours, by name.
        shares: share of the trajectories of each part, by the same names, relative to one another.

    Raises:
        UserError: `parts` and `shares` have different names.
    """

    name = "mixture"

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, parts: dict[str, Behaviour], shares: dict[str, Positive]) -> None:
        if parts.keys() != shares.keys() or not parts:
            raise UserError(
                f"The mixture has parts {', '.join(sorted(parts))} and shares {', '.join(sorted(shares))}; "
                "give one share for each part, under the same name."
            )
        # The parts draw random numbers in turn. They are sorted so that their order in the config does not matter.
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
        """Returns the indices of each part's trajectories among `n`, in the order of the parts."""
        ends = (n * torch.tensor([0.0, *self.shares.values()], dtype=torch.float64).cumsum(0)).round().long().tolist()
        sizes = [end - begin for begin, end in pairwise(ends)]
        # The trajectories of each part are evenly spaced.
        positions = torch.cat([(torch.arange(size) + 0.5) / size for size in sizes])
        owners = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[positions.argsort(stable=True)]
        return [(owners == part).nonzero().squeeze(1) for part in range(len(sizes))]
