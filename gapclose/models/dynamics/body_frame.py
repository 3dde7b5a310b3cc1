"""Dynamics in the frame of a body: its motion does not depend on its position and orientation."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.errors import UserError
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.dynamics.member_linear import MemberLinear
from gapclose.models.dynamics.mlp import features
from gapclose.setting_types import Layers, Positive

Pair = tuple[NonNegativeInt, NonNegativeInt]


class BodyFrameDynamics(Dynamics):
    """`z' = z + σ_Δ · (R(θ) f + g)`: changes `f` in the frame of a body with angle `θ`, and `g` in the world frame.

    `(f, g) = MLP(z, a, φ(R(θ)ᵀ (p - b)), R(θ)ᵀ v, R(θ)ᵀ a)` for a body at `b`.

    A latent consists of vectors in the plane: the position and direction of the body, positions `p` of other bodies,
    and velocities `v`. The network gets them, and the actions, in the frame of the body, and predicts their changes in
    that frame. So what it learns at one position and orientation holds at all (canonicalization: Kaba et al. 2023,
    arXiv 2211.06489). For things that are fixed in the world, such as walls, it also gets latent and action in the
    world frame, and predicts a change `g` there. The last layer also gets the inputs, because much of an agent's motion
    is linear in them. φ are Fourier features, as in `MLPDynamics`.

    Both coordinates of a vector must have the same scale, and all positions the same origin; see `alike` of
    `StateEncoder`.

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates; each consecutive pair is a vector.
        body: latent coordinates of the body's position.
        angle: latent coordinates of the sine and cosine of the body's angle.
        points: pairs of latent coordinates that are positions of other bodies.
        velocities: pairs of latent coordinates that are velocities.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.
        members: number `M` of networks; they differ in their initial weights.
        octaves: number of frequencies in φ.
        huber_delta: as in `Dynamics`.

    Raises:
        UserError: the vectors do not cover the latent exactly once, or the number of action coordinates is odd.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        body: Pair,
        angle: Pair,
        points: Sequence[Pair] = (),
        velocities: Sequence[Pair] = (),
        hidden_dim: PositiveInt = 256,
        num_layers: Layers = 3,
        members: PositiveInt = 1,
        octaves: Annotated[int, Field(ge=0, le=16)] = 0,
        huber_delta: Positive | None = None,
    ) -> None:
        super().__init__(latent_dim, action_dim, huber_delta)
        vectors = list(chain(*points, *velocities, body, angle[::-1]))
        if sorted(vectors) != list(range(latent_dim)):
            raise UserError(
                "model.body, model.angle, model.points and model.velocities name the latent coordinates "
                f"{sorted(vectors)}; they must name each of 0 to {latent_dim - 1} exactly once; correct them, or "
                "choose another model for this env."
            )
        if action_dim % 2:
            raise UserError(
                f"The actions have {action_dim} coordinates, but model=body_frame needs an even number, two for each "
                "vector; choose another model."
            )
        self.members, self.octaves = members, octaves
        self.body, self.angle = list(body), list(angle)
        self.points, self.velocities = ([list(pair) for pair in pairs] for pairs in (points, velocities))
        self.vectors, self.order = vectors, [vectors.index(coordinate) for coordinate in range(latent_dim)]
        fan_in = latent_dim + 2 * len(self.points) * (1 + 2 * octaves) + 2 * len(self.velocities) + 2 * action_dim
        sizes = [fan_in, *[hidden_dim] * num_layers]
        self.layers = nn.ModuleList(MemberLinear(members, *widths) for widths in pairwise(sizes))
        self.last = MemberLinear(members, fan_in + hidden_dim, 2 * latent_dim)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`."""
        return self.advance(latent.transpose(0, 1), action).transpose(0, 1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`."""
        latents = [latent.transpose(0, 1)]
        for action in actions.unbind(1):
            latents.append(self.advance(latents[-1], action))
        return torch.stack(latents, 1).permute(2, 1, 0, 3)

    def advance(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[M, N, Z]` of latents `[M, N, Z]` under actions `[N, A]`."""
        sine, cosine = F.normalize(latent[..., self.angle], dim=-1).unbind(-1)
        to_world = torch.stack((cosine, sine, -sine, cosine), -1).unflatten(-1, (2, 2))  # for row vectors
        to_body = to_world.mT
        actions = (action / self.action_std.square().mean().sqrt()).unflatten(-1, (-1, 2))
        actions = actions.expand(*latent.shape[:-1], -1, 2)
        parts = [latent, actions.flatten(-2)]
        if self.points:
            relative = (latent[..., self.points] - latent[..., None, self.body]) @ to_body
            parts.append(features(relative.flatten(-2), 2 * len(self.points) * (1 + 2 * self.octaves)))
        if self.velocities:
            parts.append((latent[..., self.velocities] @ to_body).flatten(-2))
        parts.append((actions @ to_body).flatten(-2))
        inputs = hidden = torch.cat(parts, -1)
        for layer in self.layers:
            hidden = F.silu(layer(hidden))
        scale = self.delta_std[self.vectors].view(-1, 2).square().mean(1, keepdim=True).sqrt()
        in_body, in_world = self.last(torch.cat((inputs, hidden), -1)).unflatten(-1, (2, -1, 2)).unbind(-3)
        changes = scale * (in_body @ to_world + in_world)
        return latent + changes.flatten(-2)[..., self.order]
