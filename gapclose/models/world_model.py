"""The interface of world models, and the learned world model."""

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
    """Context manager: no parameter of the module requires a gradient, and the module is in evaluation mode."""
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
    """Latent dynamics `z' = f(z, a)`, where `f` may also depend on earlier steps of the same rollout.

    A latent is `[N, M, ...]`: after the axis of the tasks comes that of the `M` ensemble members. Each member follows
    its own trajectory (Chua et al. 2018, arXiv 1805.12114, section 4: TS-infinity). A single model has `M = 1`. The
    disagreement of the members measures the model's uncertainty.

    Attributes:
        name: what error messages call it, such as by its file.
        members: number `M` of ensemble members.
        context: number of steps, including the present one, whose latents and actions a prediction depends on.
        longest_rollout: largest number of steps it can predict; `None` means no limit.
        differentiable: whether gradients pass through its predictions.
    """

    name: str = "the world model"
    members: int = 1
    context: int = 1
    longest_rollout: int | None = None
    differentiable: bool = True

    @abstractmethod
    def encode(self, observation: Tensor) -> Tensor:
        """Encodes observations `[N, ...]` into latents `[N, M, ...]`."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Decodes the members' mean of latents `[..., M, ...]` into states `[..., S]`, in the simulator's units."""

    @abstractmethod
    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        """Predicts the next latents `[N, M, ...]` of latents `[N, M, ...]` under actions `[N, A]`, without history."""

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Predicts the latents `[N, T+1, M, ...]` under action sequences `[N, T, A]` from latents `[N, M, ...]`."""
        latents = [latent]
        for action in actions.unbind(1):
            latents.append(self.step(latents[-1], action))
        return torch.stack(latents, 1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predicts the latents `[N, T, M, ...]` after each of the actions `[N, T, A]`.

        The first `F` predictions start from the given latents `[N, F, M, ...]`, the others from the last prediction.
        With `F = T` this is teacher forcing, with `F = 1` a rollout.
        """
        given, steps = latents.shape[1], actions.shape[1]
        if given == 1:
            return self.rollout(latents[:, 0], actions)[:, 1:]
        after = self.step(latents.flatten(0, 1), actions[:, :given].flatten(0, 1)).unflatten(0, latents.shape[:2])
        return after if given == steps else torch.cat((after, self.rollout(after[:, -1], actions[:, given:])[:, 1:]), 1)

    def for_tasks(self, tasks: Tensor) -> "WorldModel":
        """Returns the model for a subset of the tasks, given by index or as bool `[N]`.

        This is the model itself, unless each task has its own weights (`AdaptedWorldModel`).
        """
        return self

    @torch.no_grad()
    def squared_errors(self, window: Window) -> Tensor:
        """Squared errors `[B, k, S]` of the predicted next states, in the simulator's units.

        Each state is predicted from the true state before it, and from earlier ones within the model's context.
        """
        states, next_states = window.states[:, :-1], window.states[:, 1:]
        latents = self.encode(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return (self.decode(self.predict(latents, window.actions)) - next_states).square()

    def one_step_error(self, window: Window) -> Tensor:
        """Mean squared error of the predicted next states, in the simulator's units, a scalar."""
        return self.squared_errors(window).mean()

    @abstractmethod
    def loss(self, window: Window) -> Tensor:
        """Training loss on observed states and actions, a scalar."""


class LearnedWorldModel(WorldModel):
    """An encoder and learned dynamics in its latent space.

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
        """Sets means and standard deviations from the training data."""
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
        """Compiles a single step; compiling a whole rollout would take a minute for each horizon.

        Raises:
            UserError: compilation fails, for example because there is no compiler.
        """
        # Compile now, with and without gradients, as planners use both. One graph serves all numbers of rows except 1.
        # Trainable parameters would need further graphs, so a compiled model is not trained any more.
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
                f"The model cannot be compiled ({reason}); install a C++ compiler such as g++, or leave out "
                "compile=true."
            ) from error

    def loss(self, window: Window) -> Tensor:
        """Teacher-forced error on the first steps of the window (the model's context), then that of a rollout.

        So windows no longer than the context give the loss of teacher forcing.
        """
        return self.rollout_loss(*self.encode_window(window))

    def encode_window(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the arguments of `rollout_loss`: latents `[B, F, M, ...]`, actions `[B, k, A]` and targets.

        `F` is the context of the model, or the length of the window if that is shorter; targets are `[B, k, M, ...]`.
        """
        batch, steps = window.actions.shape[:2]
        latents = self.encode(window.states.flatten(0, 1)).unflatten(0, (batch, steps + 1))
        return latents[:, : min(self.context, steps)], window.actions, latents[:, 1:]

    def rollout_loss(self, latents: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """Mean error of `predict`, as defined by `Dynamics.errors`, a scalar.

        Args:
            latents: true latents that the prediction starts from, `[B, F, M, ...]`.
            actions: `[B, k, A]`.
            targets: true latents after each action, `[B, k, M, ...]`.
        """
        return self.rollout_errors(latents, actions, targets).mean()

    def rollout_errors(self, latents: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """Errors `[B, k, M, ...]` of the coordinates; their mean is `rollout_loss`."""
        return self.dynamics.errors(self.predict(latents, actions), targets)
