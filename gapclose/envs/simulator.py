"""The interface of simulators: batched states in, batched states out."""

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
    """The true dynamics of an environment, with its tasks, its scripted expert and its pictures.

    Attributes:
        name: the environment's name in results and file names.
        settings: all settings that determine the dynamics and the tasks, by name.
        state_dim: number `S` of state coordinates.
        action_dim: number `A` of action coordinates.
        action_low: lower action bounds `[A]`.
        action_high: upper action bounds `[A]`.
        state_low: lower bounds `[S]` of the states, minus infinity where there are none.
        state_high: upper bounds `[S]` of the states, infinity where there are none.
        differentiable: whether gradients pass through `step`; they do not pass through an engine.
        success_radius: distance to the goal within which it is reached, for drawings; `None` where success depends on
            more than the position.
        goal_weights: weight of each state coordinate in the planning objective's distance to the goal, `[S]`; `None`
            weights all equally.
        scale: unit of each state coordinate when plans are made with the simulator itself, `[S]`; `None` if all
            coordinates are of the same kind.
        angles: pairs of state coordinates that are the sine and cosine of an angle.
        alike: groups of state coordinates of the same kind, such as the positions of several bodies in the plane.
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
        """Returns the next states `[N, S]` of states `[N, S]` under actions `[N, A]`: a pure function."""

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Returns the states `[N, T+1, S]` visited under action sequences `[N, T, A]` from states `[N, S]`."""
        states = [state]
        for action in actions.unbind(1):
            states.append(self.step(states[-1], action))
        return torch.stack(states, 1)

    def observe(self, state: Tensor) -> Tensor:
        """Returns what a world model observes in states `[N, S]`: by default the states themselves."""
        return state

    @abstractmethod
    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """Draws `n` tasks from the task distribution."""

    @abstractmethod
    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """Returns the scripted expert's actions `[N, A]` in states `[N, S]` toward goals `[N, S]`."""

    @abstractmethod
    def validate_states(self, states: Tensor, what: str) -> None:
        """Raises `UserError` unless all states `[N, S]` are possible; the message calls them `what`."""

    def possible(self, states: Tensor) -> Tensor:
        """Whether states `[..., S]` are possible, bool `[...]`: by default, whether they are within the bounds."""
        low, high = self.state_low.to(states), self.state_high.to(states)
        return ((states >= low) & (states <= high)).all(-1)

    def outside(self, states: Tensor) -> Tensor:
        """Whether states `[..., S]` are outside the world or not finite, bool `[...]`.

        Outside are coordinates that exceed a bound by more than a hundredth of the distance between the bounds: models
        err a little at a border, too.
        """
        low, high = self.state_low.to(states), self.state_high.to(states)
        margin = ((high - low) / 100).nan_to_num(0.0, posinf=0.0)
        return ~(states.isfinite() & (states >= low - margin) & (states <= high + margin)).all(-1)

    @abstractmethod
    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        """Distances `[...]` of states `[..., S]` to goals `[..., S]`, in the simulator's units of length."""

    @abstractmethod
    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        """Whether states `[..., S]` have reached goals `[..., S]`, bool `[...]`."""

    @abstractmethod
    def position(self, state: Tensor) -> Tensor:
        """Positions `[..., 2]` in the plane at which states `[..., S]` are drawn."""

    def figure(self, state: Tensor) -> Tensor:
        """Line segments `[..., F, 2, 2]` that show the body in states `[..., S]`: by default none."""
        return state.new_zeros(*state.shape[:-1], 0, 2, 2)

    @abstractmethod
    def outline(self) -> Tensor:
        """Line segments `[K, 2, 2]` (ends, then x and y) of the world: its border and its walls."""

    @abstractmethod
    def render(self, state: Tensor, goal: Tensor | None = None) -> Tensor:
        """Draws pictures `uint8 [N, H, W, 3]` of states `[N, S]`, with goals `[N, S]` where given."""
