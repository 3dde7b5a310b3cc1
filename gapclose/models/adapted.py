"""A world model that has become a different one for each task."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gapclose.data.trajectories import Window
from gapclose.models.world_model import LearnedWorldModel, WorldModel


class AdaptedWorldModel(WorldModel):
    """A learned world model whose dynamics have weights of their own for each of `N` tasks; the encoder is shared.

    Rows belong to the tasks in their order, equally many to each: of `R` rows, the first `R / N` are the first task's.
    All tasks are computed at once, with one batched matrix product per layer.

    Args:
        model: the original; its weights are neither used nor changed.
        weights: of its dynamics, by name, `[N, ...]`.
    """

    def __init__(self, model: LearnedWorldModel, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.weights = model, dict(weights)
        self.members, self.context, self.longest_rollout = model.members, model.context, model.longest_rollout

    @classmethod
    def copies(cls, model: LearnedWorldModel, n: int) -> Self:
        """The original weights, for each of `n` tasks."""
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
        """What a method of the model makes of tensors `[R, ...]`, with the weights of the rows' tasks: `[N, ...]`."""
        grouped = (x.unflatten(0, (len(next(iter(self.weights.values()))), -1)) for x in rows)
        return torch.vmap(self.call, (0, None, *[0] * len(rows)))(self.weights, method, *grouped)

    def call(self, weights: dict[str, Tensor], method: str, *rows: Tensor) -> Tensor:
        """A method of the model with other weights of its dynamics."""
        named = {f"model.dynamics.{name}": weight for name, weight in weights.items()}
        return functional_call(Method(self.model, method), named, rows)


class Method(nn.Module):
    """Calls a method of a model, as `functional_call` can call only modules.

    Args:
        model: the model.
        name: of the method.
    """

    def __init__(self, model: LearnedWorldModel, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.name == "loss":
            inputs = [Window(*inputs)]
        return getattr(self.model, self.name)(*inputs)
