"""Dynamics in the frame of a body: how it can be pushed does not depend on where it is, nor on how it is turned."""

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
from gapclose.settings import Positive

Pair = tuple[NonNegativeInt, NonNegativeInt]


class BodyFrameDynamics(Dynamics):
    """`z' = z + σ_Δ · (R(θ) f + g)`: what changes, as seen from a body that is turned by `θ`, and as such.

    It is `(f, g) = MLP(z, a, φ(R(θ)ᵀ (p - b)), R(θ)ᵀ v, R(θ)ᵀ a)` for a body at `b`.

    A latent consists of vectors in the plane: the body's position and direction, positions `p` of others, velocities
    `v`. The network sees them, and the actions, from the body, and says there how they change; so what it learns in one
    place and direction holds in all (canonicalization: Kaba et al. 2023, arXiv 2211.06489). For what is not the same
    everywhere, such as walls, it sees latent and action as such, too, and has its say `g` there. Its last layer also
    sees the inputs: much of how an agent moves is linear in them. φ are Fourier features, as in `MLPDynamics`.

    Vectors have to be of one scale in both directions, and positions of one origin: see `alike` of `StateEncoder`.

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates; each two of them are a vector.
        body: which coordinates of the latent are the body's position.
        angle: which are sine and cosine of the angle that it is turned by.
        points: which are positions of others.
        velocities: which are velocities.
        hidden_dim: width of the hidden layers.
        num_layers: number of hidden layers.
        members: number `M` of networks, which differ in their initial weights.
        octaves: how many frequencies φ has sine and cosine of.
        huber_delta: as in `Dynamics`.

    Raises:
        UserError: the vectors are not the whole latent, or the actions are no vectors.
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
        num_layers: PositiveInt = 3,
        members: PositiveInt = 1,
        octaves: Annotated[int, Field(ge=0, le=16)] = 0,
        huber_delta: Positive | None = None,
    ) -> None:
        super().__init__(latent_dim, action_dim, huber_delta)
        vectors = list(chain(*points, *velocities, body, angle[::-1]))
        if sorted(vectors) != list(range(latent_dim)):
            raise UserError(
                f"model.body, model.angle, model.points and model.velocities name the coordinates {sorted(vectors)} of "
                f"a latent; expected is each of 0 to {latent_dim - 1} once. Choose them so, or another model for this "
                "env."
            )
        if action_dim % 2:
            raise UserError(f"The actions have {action_dim} coordinates, which are no vectors; choose another model.")
        self.members, self.octaves = members, octaves
        self.body, self.angle = list(body), list(angle)
        self.points, self.velocities = ([list(pair) for pair in pairs] for pairs in (points, velocities))
        self.vectors, self.order = vectors, [vectors.index(coordinate) for coordinate in range(latent_dim)]
        seen = latent_dim + 2 * len(self.points) * (1 + 2 * octaves) + 2 * len(self.velocities) + 2 * action_dim
        sizes = [seen, *[hidden_dim] * num_layers]
        self.layers = nn.ModuleList(MemberLinear(members, *between) for between in pairwise(sizes))
        self.last = MemberLinear(members, seen + hidden_dim, 2 * latent_dim)

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
        to_world = torch.stack((cosine, sine, -sine, cosine), -1).unflatten(-1, (2, 2))  # for vectors in rows
        to_body = to_world.mT
        pushes = (action / self.action_std.square().mean().sqrt()).unflatten(-1, (-1, 2))
        pushes = pushes.expand(*latent.shape[:-1], -1, 2)
        seen = [latent, pushes.flatten(-2)]
        if self.points:
            relative = (latent[..., self.points] - latent[..., None, self.body]) @ to_body
            seen.append(features(relative.flatten(-2), 2 * len(self.points) * (1 + 2 * self.octaves)))
        if self.velocities:
            seen.append((latent[..., self.velocities] @ to_body).flatten(-2))
        seen.append((pushes @ to_body).flatten(-2))
        inputs = hidden = torch.cat(seen, -1)
        for layer in self.layers:
            hidden = F.silu(layer(hidden))
        scale = self.delta_std[self.vectors].view(-1, 2).square().mean(1, keepdim=True).sqrt()
        in_body, in_world = self.last(torch.cat((inputs, hidden), -1)).unflatten(-1, (2, -1, 2)).unbind(-3)
        changes = scale * (in_body @ to_world + in_world)
        return latent + changes.flatten(-2)[..., self.order]
