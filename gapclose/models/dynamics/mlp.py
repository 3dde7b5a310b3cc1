"""Residual dynamics: one multilayer perceptron, or an ensemble of them in one batched network."""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.settings import Positive


class MLPDynamics(Dynamics):
    """`z' = z + σ_Δ · MLP(φ(z), (a - μ_a) / σ_a)`, for all members with one batched matrix product per layer.

    Besides the latent itself, φ may have Fourier features of it: a network learns what changes within short distances,
    such as the walls of a maze, many times faster from them (Tancik et al. 2020, arXiv 2006.10739).

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.
        members: number `M` of networks, which differ in their initial weights.
        octaves: how many frequencies φ has sine and cosine of, for each coordinate: 1, 2, 4, ... radians for each unit
            of the latent. 0 for none.
        huber_delta: as in `Dynamics`.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        hidden_dim: PositiveInt = 128,
        num_layers: PositiveInt = 3,
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
        (drive,) = self.drive(action.unsqueeze(1))
        # Eager also where the rollout's is compiled: it would be compiled anew for this layout.
        return MLPDynamics.advance(latent.transpose(0, 1), drive, *self.layers()).transpose(0, 1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`.

        As many steps of `forward`, less what they would do over and over again: the share of all actions in the first
        layer is one matrix product, and weights and layout are prepared once.
        """
        latents, layers = [latent.transpose(0, 1).contiguous()], self.layers()
        # A compiled step would be compiled anew for a single row.
        advance = self.advance if len(latent) > 1 else MLPDynamics.advance
        for drive in self.drive(actions):
            latents.append(advance(latents[-1], drive, *layers))
        return torch.stack(latents, 1).permute(2, 1, 0, 3)

    def drive(self, actions: Tensor) -> tuple[Tensor, ...]:
        """What actions `[N, T, A]` contribute to the first layer, bias included: `[M, N, H]` for each step."""
        steps, weight = actions.shape[1], self.weights[0][:, -actions.shape[2] :]
        inputs = ((actions - self.action_mean) / self.action_std).transpose(0, 1).flatten(0, 1)
        driven = torch.baddbmm(self.biases[0], inputs.expand(self.members, -1, -1), weight)
        return driven.unflatten(1, (steps, -1)).unbind(1)

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights of all layers and biases of all but the first, as `advance` takes them.

        The first weights are those of the latent's features; in the last layer, the scale of the changes is folded in.
        """
        weights, biases = list(self.weights), list(self.biases)
        weights[0] = weights[0][:, : -len(self.action_mean)]
        # In this layout a product with few columns is several times faster.
        weights[-1] = (weights[-1] * self.delta_std).mT.contiguous().mT
        biases[-1] = biases[-1] * self.delta_std
        return weights, biases[1:]

    @staticmethod
    def advance(latent: Tensor, drive: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        """Next latents `[M, N, Z]` of latents `[M, N, Z]`, given what the action contributes to the first layer."""
        hidden = F.silu(torch.baddbmm(drive, features(latent, weights[0].shape[1]), weights[0]))
        for weight, bias in zip(weights[1:-1], biases[:-1]):
            hidden = F.silu(torch.baddbmm(bias, hidden, weight))
        return torch.baddbmm(latent + biases[-1], hidden, weights[-1])


def features(latent: Tensor, number: int) -> Tensor:
    """Latents `[..., Z]`, and as many octaves of Fourier features of them as make up that number: `[..., number]`."""
    octaves = (number // latent.shape[-1] - 1) // 2
    if not octaves:
        return latent
    frequencies = 2.0 ** torch.arange(octaves, device=latent.device, dtype=latent.dtype)
    phases = (latent.unsqueeze(-1) * frequencies).flatten(-2)
    return torch.cat((latent, phases.sin(), phases.cos()), -1)
