"""A linear layer for all networks of an ensemble."""

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """A linear layer with separate weights for each member, in one batched matrix product.

    Args:
        members: number `M` of networks.
        fan_in: width of the input.
        fan_out: width of the output.
    """

    def __init__(self, members: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        bound = fan_in**-0.5
        self.weight = nn.Parameter(torch.empty(members, fan_in, fan_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, fan_out).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps `[M, ..., fan_in]` to `[M, ..., fan_out]`."""
        return torch.baddbmm(self.bias, inputs.flatten(1, -2), self.weight).unflatten(1, inputs.shape[1:-1])
