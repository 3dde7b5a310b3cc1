"""A world model with separate weights for each task."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gapclose.data.trajectories import Window
from gapclose.models.world_model import LearnedWorldModel, WorldModel


class AdaptedWorldModel(WorldModel):
    """A learned world model whose dynamics have separate weights for each of `N` tasks; the encoder is shared.

    Each task has equally many rows, in the order of the tasks: of `R` rows, the first `R / N` are the first task's. All
    tasks are computed at once, with one batched matrix product per layer.

    Args:
        model: the original model; the weights of its dynamics are neither used nor changed.
        weights: weights of the dynamics for each task, by name, `[N, ...]`.
    """

    def __init__(self, model: LearnedWorldModel, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.weights, self.name = model, dict(weights), model.name
        self.members, self.context, self.longest_rollout = model.members, model.context, model.longest_rollout

    @classmethod
    def copies(cls, model: LearnedWorldModel, n: int) -> Self:
        """Makes a model with a copy of the original weights for each of `n` tasks."""
        weights = model.dynamics.named_parameters()
        return cls(model, {name: weight.detach().expand(n, *weight.shape) for name, weight in weights})

    def for_tasks(self, tasks: Tensor) -> "AdaptedWorldModel":
        return AdaptedWorldModel(self.model, {name: weight[tasks] for name, weight in self.weights.items()})

    def encode(self, observation: Tensor) -> Tensor:
        return self.model.encode(observation)

    def decode(self, latent: Tensor) -> Tensor:
        return self.model.decode(latent)

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        return self.for_each_task("step", latent, action).flatten(0, 1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        return self.for_each_task("rollout", latent, actions).flatten(0, 1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        return self.for_each_task("predict", latents, actions).flatten(0, 1)

    def losses(self, window: Window) -> Tensor:
        """The model's training loss for each task, `[N]`."""
        return self.for_each_task("loss", *window)

    def loss(self, window: Window) -> Tensor:
        return self.losses(window).mean()

    def for_each_task(self, method: str, *rows: Tensor) -> Tensor:
        """Applies a method of the model to tensors `[R, ...]` with the weights of their tasks: `[N, ...]`."""
        grouped = (x.unflatten(0, (len(next(iter(self.weights.values()))), -1)) for x in rows)
        return torch.vmap(self.call, (0, None, *[0] * len(rows)))(self.weights, method, *grouped)

    def call(self, weights: dict[str, Tensor], method: str, *rows: Tensor) -> Tensor:
        """Calls a method of the model with these weights of its dynamics."""
        named = {f"model.dynamics.{name}": weight for name, weight in weights.items()}
        return functional_call(Method(self.model, method), named, rows)


class Method(nn.Module):
    """Wraps a method of a model in a module, because `functional_call` can only call modules.

    Args:
        model: the model.
        name: name of the method.
    """

    def __init__(self, model: LearnedWorldModel, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.name == "loss":
            inputs = [Window(*inputs)]
        return getattr(self.model, self.name)(*inputs)
