"""Residual dynamics: one multilayer perceptron, or an ensemble of them in one batched network."""

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F


class MLPDynamics(nn.Module):
    """`z' = z + σ_Δ · MLP(z, (a - μ_a) / σ_a)`, for all members with one batched matrix product per layer.

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.
        members: number `M` of networks, which differ in their initial weights.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        hidden_dim: PositiveInt = 128,
        num_layers: PositiveInt = 3,
        members: PositiveInt = 1,
    ) -> None:
        super().__init__()
        self.members = members
        sizes = [latent_dim + action_dim, *[hidden_dim] * num_layers, latent_dim]
        bounds = [fan_in**-0.5 for fan_in in sizes[:-1]]
        self.weights = nn.ParameterList(
            torch.empty(members, fan_in, fan_out).uniform_(-bound, bound)
            for fan_in, fan_out, bound in zip(sizes, sizes[1:], bounds)
        )
        self.biases = nn.ParameterList(
            torch.empty(members, 1, fan_out).uniform_(-bound, bound) for fan_out, bound in zip(sizes[1:], bounds)
        )
        self.register_buffer("action_mean", torch.zeros(action_dim))
        self.register_buffer("action_std", torch.ones(action_dim))
        self.register_buffer("delta_std", torch.ones(latent_dim))

    def fit_normalization(self, deltas: Tensor, actions: Tensor) -> None:
        """Takes the scale of latent changes `[B, Z]`, and mean and standard deviation of actions `[B, A]`."""
        self.delta_std.copy_(deltas.std(0).clamp(min=1e-6))
        self.action_mean.copy_(actions.mean(0))
        self.action_std.copy_(actions.std(0).clamp(min=1e-6))

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`."""
        action = ((action - self.action_mean) / self.action_std).unsqueeze(1).expand(-1, self.members, -1)
        hidden = torch.cat((latent, action), -1).transpose(0, 1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            hidden = F.silu(torch.baddbmm(bias, hidden, weight))
        delta = torch.baddbmm(self.biases[-1], hidden, self.weights[-1]).transpose(0, 1)
        return latent + self.delta_std * delta
