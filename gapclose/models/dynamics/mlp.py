"""Residual dynamics: one multilayer perceptron, or an ensemble of them in one batched network."""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.setting_types import Layers, Positive


class MLPDynamics(Dynamics):
    """`z' = z + σ_Δ · MLP(φ(z), (a - μ_a) / σ_a)`, for all members with one batched matrix product per layer.

    The features φ are the latent and, optionally, Fourier features of it. With them, a network learns dynamics that
    change over short distances, such as at the walls of a maze, many times faster (Tancik et al. 2020, arXiv
    2006.10739).

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.
        members: number `M` of networks; they differ in their initial weights.
        octaves: number of frequencies in φ for each coordinate: 1, 2, 4, ... radians per unit of the latent, each with
            sine and cosine.
        huber_delta: as in `Dynamics`.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        hidden_dim: PositiveInt = 128,
        num_layers: Layers = 3,
        members: PositiveInt = 1,
        octaves: Annotated[int, Field(ge=0, le=16)] = 0,
        huber_delta: Positive | None = None,
    ) -> None:
        super().__init__(latent_dim, action_dim, huber_delta)
        self.members = members
        sizes = [latent_dim * (1 + 2 * octaves) + action_dim, *[hidden_dim] * num_layers, latent_dim]
        bounds = [fan_in**-0.5 for fan_in in sizes[:-1]]
        self.weights = nn.ParameterList(
            torch.empty(members, fan_in, fan_out).uniform_(-bound, bound)
            for fan_in, fan_out, bound in zip(sizes, sizes[1:], bounds)
        )
        self.biases = nn.ParameterList(
            torch.empty(members, 1, fan_out).uniform_(-bound, bound) for fan_out, bound in zip(sizes[1:], bounds)
        )

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`."""
        (action_term,) = self.action_terms(action.unsqueeze(1))
        # Not compiled even where the rollout is: this memory layout would trigger another compilation.
        return MLPDynamics.advance(latent.transpose(0, 1), action_term, *self.layers()).transpose(0, 1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`.

        Equal to repeated calls of `forward`, but faster: the terms of all actions in the first layer are one matrix
        product, and weights and memory layout are prepared once.
        """
        latents, layers = [latent.transpose(0, 1).contiguous()], self.layers()
        # A single row would trigger another compilation of a compiled step.
        advance = self.advance if len(latent) > 1 else MLPDynamics.advance
        for action_term in self.action_terms(actions):
            latents.append(advance(latents[-1], action_term, *layers))
        return torch.stack(latents, 1).permute(2, 1, 0, 3)

    def action_terms(self, actions: Tensor) -> tuple[Tensor, ...]:
        """Terms of actions `[N, T, A]` in the first layer, including its bias: `[M, N, H]` for each step."""
        steps, weight = actions.shape[1], self.weights[0][:, -actions.shape[2] :]
        inputs = ((actions - self.action_mean) / self.action_std).transpose(0, 1).flatten(0, 1)
        terms = torch.baddbmm(self.biases[0], inputs.expand(self.members, -1, -1), weight)
        return terms.unflatten(1, (steps, -1)).unbind(1)

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the weights of all layers, and the biases of all but the first, as arguments of `advance`.

        The first weights are only those of the latent's features; the last layer includes the scale of the changes.
        """
        weights, biases = list(self.weights), list(self.biases)
        weights[0] = weights[0][:, : -len(self.action_mean)]
        # Matrix products with few columns are several times faster in this memory layout.
        weights[-1] = (weights[-1] * self.delta_std).mT.contiguous().mT
        biases[-1] = biases[-1] * self.delta_std
        return weights, biases[1:]

    @staticmethod
    def advance(latent: Tensor, action_term: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        """Next latents `[M, N, Z]` of latents `[M, N, Z]`, given the action's term in the first layer `[M, N, H]`."""
        hidden = F.silu(torch.baddbmm(action_term, features(latent, weights[0].shape[1]), weights[0]))
        for weight, bias in zip(weights[1:-1], biases[:-1]):
            hidden = F.silu(torch.baddbmm(bias, hidden, weight))
        return torch.baddbmm(latent + biases[-1], hidden, weights[-1])


def features(latent: Tensor, number: int) -> Tensor:
    """Appends octaves of Fourier features to latents `[..., Z]`, for a total of `[..., number]` features."""
    octaves = (number // latent.shape[-1] - 1) // 2
    if not octaves:
        return latent
    frequencies = 2.0 ** torch.arange(octaves, device=latent.device, dtype=latent.dtype)
    phases = (latent.unsqueeze(-1) * frequencies).flatten(-2)
    return torch.cat((latent, phases.sin(), phases.cos()), -1)
