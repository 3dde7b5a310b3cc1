"""The protocol of every simulator: batched states in, batched states out."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Tasks(NamedTuple):
    """Planning problems: go from `start` to `goal`.

    Attributes:
        start: states `[N, S]`.
        goal: states `[N, S]`.
    """

    start: Tensor
    goal: Tensor


class Simulator(ABC):
    """The true dynamics.

    Attributes:
        name: the name under which results are filed.
        settings: all that determines the dynamics and the tasks, by name.
        state_dim: the number `S` of state coordinates.
        action_dim: the number `A` of action coordinates.
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        state_low: lower bounds `[S]` of the states, minus infinity where there are none.
        state_high: upper bounds `[S]` of the states.
        differentiable: whether `step` passes gradients from its result to its arguments; an engine's does not.
        success_radius: how near to the goal counts as reached, for drawings; none where that is no matter of the
            position alone.
        goal_weights: how much each coordinate of a state counts when the distance to a goal is planned with, `[S]`;
            none for all alike.
        scale: what differences in each coordinate are measured in where the simulator is planned with, `[S]`; none if
            all are of one kind.
        angles: which pairs of state coordinates are sine and cosine of an angle.
        alike: groups of state coordinates that are of one kind, such as positions of several things in the plane.
    """

    name: str
    settings: dict[str, Any]
    state_dim: int
    action_dim: int
    action_low: Tensor
    action_high: Tensor
    state_low: Tensor
    state_high: Tensor
    differentiable: bool = False
    success_radius: float | None = None
    goal_weights: Tensor | None = None
    scale: Tensor | None = None
    angles: tuple[tuple[int, int], ...] = ()
    alike: tuple[tuple[int, ...], ...] = ()

    @abstractmethod
    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Next states `[N, S]` of states `[N, S]` under actions `[N, A]`; a pure function of its arguments."""

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """States `[N, T+1, S]` that action sequences `[N, T, A]` lead through from states `[N, S]`."""
        states = [state]
        for action in actions.unbind(1):
            states.append(self.step(states[-1], action))
        return torch.stack(states, 1)

    def observe(self, state: Tensor) -> Tensor:
        """What a world model gets to see of states `[N, S]`: by default the states themselves."""
        return state

    @abstractmethod
    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """`n` tasks drawn from the task distribution."""

    @abstractmethod
    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """The scripted expert's actions `[N, A]` in states `[N, S]` on the way to goals `[N, S]`."""

    @abstractmethod
    def validate_states(self, states: Tensor, what: str) -> None:
        """Raises `UserError`, calling the states `what`, unless all of states `[N, S]` are possible."""

    def possible(self, states: Tensor) -> Tensor:
        """Which of states `[..., S]` are possible, bool `[...]`: by default those within the bounds."""
        low, high = self.state_low.to(states), self.state_high.to(states)
        return ((states >= low) & (states <= high)).all(-1)

    @abstractmethod
    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        """Distances `[...]` of states `[..., S]` to goals `[..., S]`, in the simulator's units of length."""

    @abstractmethod
    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        """Whether states `[..., S]` count as having reached goals `[..., S]`: bool `[...]`."""

    @abstractmethod
    def position(self, state: Tensor) -> Tensor:
        """Where states `[..., S]` are drawn in the plane: `[..., 2]`."""

    def figure(self, state: Tensor) -> Tensor:
        """What is drawn of states `[..., S]` beside their position, line segments `[..., F, 2, 2]`: by default none."""
        return state.new_zeros(*state.shape[:-1], 0, 2, 2)

    @abstractmethod
    def outline(self) -> Tensor:
        """The line segments `[K, 2, 2]` (ends, then x and y) that a drawing of the world consists of."""

    @abstractmethod
    def render(self, state: Tensor, goal: Tensor | None = None) -> Tensor:
        """Pictures `uint8 [N, H, W, 3]` of states `[N, S]`, with goals `[N, S]` where given."""
