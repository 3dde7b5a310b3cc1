"""Residual dynamics with memory: a transformer over the last steps, or an ensemble of them in one batched network."""

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.errors import UserError
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.dynamics.member_linear import MemberLinear
from gapclose.setting_types import Layers, Positive

Past = tuple[Tensor, Tensor]
"""The key-value cache of a block: keys and values `[N, M·H, L, D]` of the last tokens."""


class TransformerDynamics(Dynamics):
    """`z_{t+1} = z_t + σ_Δ · head(token_t)`; each step is a token, with causal attention to the tokens before it.

    A token is made of the latent, the action, and the last change of the latent (0 at the start). Learning to find such
    a small difference of latents by attention takes several times longer.

    Attention has a sliding window (Beltagy et al. 2020, arXiv 2004.05150, section 3): each layer looks back a few
    steps, and the layers and the last changes together look back over the context. So a token never changes once it is
    computed, and a rollout of any length computes each token once. If each layer looked back over the whole context,
    every token would change whenever the context moves by a step. Relative positions are learned biases of the
    attention, one for each distance (Raffel et al. 2020, arXiv 1910.10683, section 2.1).

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        hidden_dim: width `W` of the tokens.
        num_layers: number of blocks.
        num_heads: number `H` of attention heads.
        context: number of steps, including the present one, whose latents a prediction depends on; it depends on one
            action less.
        members: number `M` of networks; they differ in their initial weights.
        huber_delta: as in `Dynamics`.

    Raises:
        UserError: `hidden_dim` is not a multiple of `num_heads`.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        hidden_dim: PositiveInt = 64,
        num_layers: Layers = 2,
        num_heads: PositiveInt = 4,
        context: PositiveInt = 8,
        members: PositiveInt = 1,
        huber_delta: Positive | None = None,
    ) -> None:
        super().__init__(latent_dim, action_dim, huber_delta)
        if hidden_dim % num_heads:
            raise UserError(
                f"model.hidden_dim is {hidden_dim} and model.num_heads is {num_heads}; the heads share the width "
                f"equally, so choose a multiple of {num_heads} as model.hidden_dim."
            )
        self.members, self.context = members, context
        self.embed = MemberLinear(members, 2 * latent_dim + action_dim, hidden_dim)
        quotient, rest = divmod(max(context - 2, 0), num_layers)
        spans = [quotient + (layer < rest) for layer in range(num_layers)]
        self.blocks = nn.ModuleList(Block(members, hidden_dim, num_heads, span) for span in spans)
        self.head = MemberLinear(members, hidden_dim, latent_dim)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`, without history."""
        return self.predict(latent.unsqueeze(1), action.unsqueeze(1)).squeeze(1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`."""
        return torch.cat((latent.unsqueeze(1), self.predict(latent.unsqueeze(1), actions)), 1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predicts the latents `[N, T, M, Z]` after each of the actions `[N, T, A]`.

        The first `F` predictions start from the given latents `[N, F, M, Z]`, all at once; the others start from the
        last prediction, one by one.
        """
        observed, given = latents.movedim(2, 0), latents.shape[1]
        inputs = (actions - self.action_mean) / self.action_std
        masks = [block.mask(0, given) for block in self.blocks]
        past = [block.empty_past(observed) for block in self.blocks]
        before = torch.cat((observed[:, :, :1], observed[:, :, :-1]), 2)
        after, past = self.advance(observed, before, inputs[:, :given], masks, past)
        predicted, before = [after], observed[:, :, -1:]
        for step in range(given, inputs.shape[1]):
            if step < given + self.context:
                masks = [block.mask(step, 1) for block in self.blocks]
            latest = predicted[-1][:, :, -1:]
            after, past = self.advance(latest, before, inputs[:, step : step + 1], masks, past)
            predicted.append(after)
            before = latest
        return torch.cat(predicted, 2).movedim(0, 2)

    def advance(
        self, latents: Tensor, before: Tensor, actions: Tensor, masks: list[Tensor], past: list[Past]
    ) -> tuple[Tensor, list[Past]]:
        """Returns the next latents, and the updated past of each block.

        Args:
            latents: `[M, N, T, Z]`.
            before: the latent before each of them, `[M, N, T, Z]`.
            actions: normalised actions, `[N, T, A]`.
            masks: attention mask of each block.
            past: key-value cache of each block.
        """
        changes = (latents - before) / self.delta_std if self.context > 1 else torch.zeros_like(latents)
        tokens = self.embed(torch.cat((latents, changes, actions.expand(self.members, -1, -1, -1)), -1))
        updated = []
        for block, mask, block_past in zip(self.blocks, masks, past):
            tokens, block_past = block(tokens, mask, block_past)
            updated.append(block_past)
        return latents + self.delta_std * self.head(normalized(tokens)), updated


class Block(nn.Module):
    """Attention over the last tokens, then a multilayer perceptron, both residual and with pre-normalisation.

    Args:
        members: number `M` of networks.
        width: width `W` of the tokens.
        heads: number `H` of attention heads.
        span: number of steps that it looks back.
    """

    def __init__(self, members: int, width: int, heads: int, span: int) -> None:
        super().__init__()
        self.members, self.heads, self.span = members, heads, span
        self.attend, self.attended = MemberLinear(members, width, 3 * width), MemberLinear(members, width, width)
        self.widen, self.narrow = MemberLinear(members, width, 4 * width), MemberLinear(members, 4 * width, width)
        # Biases by distance. Random ones make the heads specialise in different distances much sooner.
        self.preference = nn.Parameter(torch.randn(members * heads, span + 1))

    def forward(self, tokens: Tensor, mask: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Returns the updated tokens `[M, N, T, W]`, and the keys and values for the tokens that follow."""
        n, steps = tokens.shape[1:3]
        # The heads of all members become one axis: [M, N, T, 3·H·D] becomes three tensors [N, M·H, T, D].
        split = self.attend(normalized(tokens)).view(self.members, n, steps, 3, self.heads, -1)
        query, *new = split.permute(3, 1, 0, 4, 2, 5).flatten(2, 3).unbind(0)
        keys, values = (torch.cat(pair, 2) for pair in zip(past, new))
        attention = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        attention = attention.unflatten(1, (self.members, self.heads)).permute(1, 0, 3, 2, 4).flatten(3)
        tokens = tokens + self.attended(attention)
        tokens = tokens + self.narrow(F.silu(self.widen(normalized(tokens))))
        return tokens, (keys[:, :, steps:], values[:, :, steps:])

    def empty_past(self, latents: Tensor) -> Past:
        """Returns the past of the first token, for latents `[M, N, ...]`: zeros, hidden by the mask."""
        width = self.attend.weight.shape[1] // self.heads
        empty = latents.new_zeros(latents.shape[1], len(self.preference), self.span, width)
        return empty, empty

    def mask(self, before: int, steps: int) -> Tensor:
        """Returns the attention mask of `T` tokens, with the biases of the distances: `[M·H, T, span + T]`.

        Args:
            before: number of tokens before them.
            steps: number `T` of tokens.
        """
        position = torch.arange(steps, device=self.preference.device)
        distance = position[:, None] + self.span - torch.arange(self.span + steps, device=position.device)
        hidden = (distance < 0) | (distance > self.span) | (distance > before + position[:, None])
        return self.preference[:, distance.clamp(0, self.span)].masked_fill(hidden, -torch.inf)


def normalized(tokens: Tensor) -> Tensor:
    """Layer normalisation of tokens `[..., W]`, without scale and shift: the linear layers that follow have both."""
    return F.layer_norm(tokens, tokens.shape[-1:])
