"""Where the search for actions starts. All actions here are normalised: the bounds are -1 and 1."""

from typing import Literal

import torch
from torch import Tensor

Init = Literal["zeros", "normal", "knots"]


def initial_actions(
    init: Init, shape: tuple[int, ...], num_knots: int, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """Random action sequences.

    Args:
        init: `zeros`; `normal`, independent standard Gaussians; or `knots`, constant over each of `num_knots` equal
            parts of the horizon and uniform within the bounds there, so that the sequences cover long ways.
        shape: `[..., T, A]`.
        num_knots: number of constant pieces of `knots`.
        generator: source of randomness, on the CPU, so that every device draws the same.
        like: a tensor with the wanted device and type.

    Returns:
        Action sequences of the given shape.
    """
    *batch, steps, action_dim = shape
    if init == "zeros":
        return like.new_zeros(shape)
    if init == "normal":
        return torch.randn(shape, generator=generator).to(like)
    knots = 2 * torch.rand(*batch, num_knots, action_dim, generator=generator) - 1
    piece = torch.arange(steps) * num_knots // steps
    return knots[..., piece, :].to(like)
