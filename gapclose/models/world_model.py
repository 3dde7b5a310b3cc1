"""The interface of everything that predicts, and the learned world model behind it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gapclose.data.trajectories import Trajectories, Window
from gapclose.errors import UserError
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.encoders.state import StateEncoder


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within it no parameter of the module requires a gradient, and the module is in evaluation mode."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter in trained:
            parameter.requires_grad_(True)


class WorldModel(nn.Module, ABC):
    """Latent dynamics `z' = f(z, a)`, or `f` of several steps: a rollout starts with no step before it.

    A latent is `[N, M, ...]`: the first axis after the tasks is that of the `M` ensemble members, each of which
    follows a trajectory of its own (Chua et al. 2018, arXiv 1805.12114, section 4: TS-infinity). A single model has
    `M = 1`. How far the members are apart says how little the model knows.

    Attributes:
        members: number `M` of members.
        context: of how many steps, the present one included, a prediction takes latents and actions into account.
        longest_rollout: how many steps it can predict at most; none for any number.
        differentiable: whether gradients pass through its predictions.
    """

    members: int = 1
    context: int = 1
    longest_rollout: int | None = None
    differentiable: bool = True

    @abstractmethod
    def encode(self, observation: Tensor) -> Tensor:
        """Latents `[N, M, ...]` of observations `[N, ...]`."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Predicted states `[..., S]`, in the simulator's units, of latents `[..., M, ...]`: the members' mean."""

    @abstractmethod
    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, ...]` of latents `[N, M, ...]` under actions `[N, A]`, with no step before."""

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, ...]` that action sequences `[N, T, A]` lead through from latents `[N, M, ...]`."""
        latents = [latent]
        for action in actions.unbind(1):
            latents.append(self.step(latents[-1], action))
        return torch.stack(latents, 1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T, M, ...]` after each of the actions `[N, T, A]`.

        The first `F` predictions are made from the latents `[N, F, M, ...]` that are given, those that follow from what
        was predicted before: with as many latents as actions nothing is imagined, with one it is a rollout.
        """
        given, steps = latents.shape[1], actions.shape[1]
        if given == 1:
            return self.rollout(latents[:, 0], actions)[:, 1:]
        after = self.step(latents.flatten(0, 1), actions[:, :given].flatten(0, 1)).unflatten(0, latents.shape[:2])
        return after if given == steps else torch.cat((after, self.rollout(after[:, -1], actions[:, given:])[:, 1:]), 1)

    def for_tasks(self, tasks: Tensor) -> "WorldModel":
        """The model for rows that belong to some tasks (numbers or bool, `[N]`): equally many each, in their order.

        That is the same model for all tasks, unless each has weights of its own (`AdaptedWorldModel`).
        """
        return self

    @torch.no_grad()
    def squared_errors(self, window: Window) -> Tensor:
        """Squared errors of the predicted next states, in the simulator's units: `[B, k, S]`.

        Each is predicted from the state before it, and from those of the window that went before that if the model
        takes them into account.
        """
        states, next_states = window.states[:, :-1], window.states[:, 1:]
        latents = self.encode(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return (self.decode(self.predict(latents, window.actions)) - next_states).square()

    def one_step_error(self, window: Window) -> Tensor:
        """Mean squared error of the predicted next states, in the simulator's units: a scalar."""
        return self.squared_errors(window).mean()

    @abstractmethod
    def loss(self, window: Window) -> Tensor:
        """Training loss on observed states and actions: a scalar."""


class LearnedWorldModel(WorldModel):
    """An encoder, and dynamics on its latents.

    Args:
        encoder: maps observations to latents.
        dynamics: predicts the next latent.
    """

    def __init__(self, encoder: StateEncoder, dynamics: Dynamics) -> None:
        super().__init__()
        self.encoder = encoder
        self.dynamics = dynamics
        self.members, self.context = dynamics.members, dynamics.context

    def fit_normalization(self, trajectories: Trajectories) -> None:
        """Takes means and standard deviations from the training data."""
        self.encoder.fit_normalization(trajectories.states.flatten(0, 1))
        latents = self.encoder(trajectories.states.flatten(0, 1)).view(*trajectories.states.shape[:2], -1)
        self.dynamics.fit_normalization(
            (latents[:, 1:] - latents[:, :-1]).flatten(0, 1), trajectories.actions.flatten(0, 1)
        )

    def encode(self, observation: Tensor) -> Tensor:
        return self.encoder(observation).unsqueeze(1).expand(-1, self.members, -1)

    def decode(self, latent: Tensor) -> Tensor:
        return self.encoder.decode(latent.mean(-2))

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        return self.dynamics(latent, action)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        return self.dynamics.rollout(latent, actions)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        return super().predict(latents, actions) if self.context == 1 else self.dynamics.predict(latents, actions)

    def compile_step(self) -> None:
        """Compiles the step, not the unrolled horizon: that would take a minute, and again for every other length.

        Raises:
            UserError: it cannot be compiled, for want of a compiler.
        """
        # One graph for all numbers of rows but one; it is compiled now, with and without gradients, as planners use it.
        # Parameters that require gradients would take further graphs: what is compiled is trained no more.
        self.requires_grad_(False)
        latent = self.encoder.mean.new_zeros(8, self.members, self.encoder.latent_dim)
        actions = latent.new_zeros(8, 2, len(self.dynamics.action_mean))
        try:
            self.dynamics.advance = torch.compile(self.dynamics.advance, dynamic=True)
            for gradients in (False, True):
                with frozen(self), torch.set_grad_enabled(gradients):
                    end = self.rollout(latent, actions.requires_grad_(gradients)).sum()
            torch.autograd.grad(end, actions)
        except Exception as error:
            reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
            raise UserError(
                f"The model cannot be compiled ({reason}); install "
                "a C++ compiler such as g++, or leave out compile=true."
            ) from error

    def loss(self, window: Window) -> Tensor:
        """Error of predictions from the window's first states, as many as the context has, and of a rollout from there.

        So windows of one step, or of as many as the context has, give the loss of teacher forcing.
        """
        return self.rollout_loss(*self.encode_window(window))

    def encode_window(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """What `rollout_loss` takes: the first latents `[B, F, M, ...]`, actions `[B, k, A]`, targets `[B, k, M, ...]`.

        The latents are as many as the context has, or the window.
        """
        batch, steps = window.actions.shape[:2]
        latents = self.encode(window.states.flatten(0, 1)).unflatten(0, (batch, steps + 1))
        return latents[:, : min(self.context, steps)], window.actions, latents[:, 1:]

    def rollout_loss(self, latents: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """Mean error of `predict`, as `Dynamics.errors` has it: a scalar.

        Args:
            latents: what it starts from, `[B, F, M, ...]`.
            actions: `[B, k, A]`.
            targets: the true latents after each action, `[B, k, M, ...]`.
        """
        return self.rollout_errors(latents, actions, targets).mean()

    def rollout_errors(self, latents: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """The errors `[B, k, M, ...]` whose mean is `rollout_loss`."""
        return self.dynamics.errors(self.predict(latents, actions), targets)
