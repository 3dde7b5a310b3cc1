"""Residual dynamics that remember: a transformer over the last steps, or an ensemble of them in one batched network."""

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from gapclose.errors import UserError
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.dynamics.member_linear import MemberLinear
from gapclose.settings import Positive

Past = tuple[Tensor, Tensor]
"""Keys and values `[N, M·H, L, D]` of the last tokens."""


class TransformerDynamics(Dynamics):
    """`z_{t+1} = z_t + σ_Δ · head(token_t)`; each step is a token, and sees the tokens before it.

    A token is made of latent, action, and the change that led to the latent (0 at the start): to find so small a
    difference of latents by attention takes several times longer to learn.

    Each layer looks a few steps back: changes and layers together look back over the context. What a token has computed
    hence holds for good, and a rollout computes each token once, however long it is; were each layer to look back over
    the whole context, moving that on by a step would change every token in it (a sliding window of attention: Beltagy
    et al. 2020, arXiv 2004.05150, section 3). Where in its span a token stands is told by a learned bias of the
    attention for each distance (Raffel et al. 2020, arXiv 1910.10683, section 2.1).

    Args:
        latent_dim: number `Z` of latent coordinates.
        action_dim: number `A` of action coordinates.
        hidden_dim: width `W` of the tokens.
        num_layers: number of blocks.
        num_heads: number `H` of attention heads.
        context: of how many steps, the present one included, a prediction takes latents into account; of actions, one
            less.
        members: number `M` of networks, which differ in their initial weights.
        huber_delta: as in `Dynamics`.

    Raises:
        UserError: the width cannot be divided among the heads.
    """

    @validate_call
    def __init__(
        self,
        latent_dim: PositiveInt,
        action_dim: PositiveInt,
        hidden_dim: PositiveInt = 64,
        num_layers: PositiveInt = 2,
        num_heads: PositiveInt = 4,
        context: PositiveInt = 8,
        members: PositiveInt = 1,
        huber_delta: Positive | None = None,
    ) -> None:
        super().__init__(latent_dim, action_dim, huber_delta)
        if hidden_dim % num_heads:
            raise UserError(
                f"model.hidden_dim is {hidden_dim} and model.num_heads {num_heads}; every head has an equal share of "
                f"the width, so choose a multiple of {num_heads} as width."
            )
        self.members, self.context = members, context
        self.embed = MemberLinear(members, 2 * latent_dim + action_dim, hidden_dim)
        whole, rest = divmod(max(context - 2, 0), num_layers)
        spans = [whole + (layer < rest) for layer in range(num_layers)]
        self.blocks = nn.ModuleList(Block(members, hidden_dim, num_heads, span) for span in spans)
        self.head = MemberLinear(members, hidden_dim, latent_dim)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latents `[N, M, Z]` of latents `[N, M, Z]` under actions `[N, A]`, of which nothing went before."""
        return self.predict(latent.unsqueeze(1), action.unsqueeze(1)).squeeze(1)

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T+1, M, Z]` that actions `[N, T, A]` lead through from latents `[N, M, Z]`."""
        return torch.cat((latent.unsqueeze(1), self.predict(latent.unsqueeze(1), actions)), 1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents `[N, T, M, Z]` after each of the actions `[N, T, A]`.

        The first `F` predictions are made from the latents `[N, F, M, Z]` that are given, all at once; those that
        follow, one by one, from what was predicted before.
        """
        observed, given = latents.movedim(2, 0), latents.shape[1]
        inputs = (actions - self.action_mean) / self.action_std
        masks = [block.mask(0, given) for block in self.blocks]
        past = [block.nothing(observed) for block in self.blocks]
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
        """Next latents, and the past of what follows.

        Args:
            latents: `[M, N, T, Z]`.
            before: the latents before each of them, `[M, N, T, Z]`.
            actions: normalised, `[N, T, A]`.
            masks: of each block's attention.
            past: of each block.
        """
        changes = (latents - before) / self.delta_std if self.context > 1 else torch.zeros_like(latents)
        tokens = self.embed(torch.cat((latents, changes, actions.expand(self.members, -1, -1, -1)), -1))
        following = []
        for block, mask, before in zip(self.blocks, masks, past):
            tokens, after = block(tokens, mask, before)
            following.append(after)
        return latents + self.delta_std * self.head(normalized(tokens)), following


class Block(nn.Module):
    """Attention over the last tokens, then a multilayer perceptron; both add to what there is (pre-norm).

    Args:
        members: number `M` of networks.
        width: of the tokens.
        heads: number `H` of attention heads.
        span: how many steps it looks back.
    """

    def __init__(self, members: int, width: int, heads: int, span: int) -> None:
        super().__init__()
        self.members, self.heads, self.span = members, heads, span
        self.attend, self.attended = MemberLinear(members, width, 3 * width), MemberLinear(members, width, width)
        self.widen, self.narrow = MemberLinear(members, width, 4 * width), MemberLinear(members, 4 * width, width)
        # Heads that prefer different distances from the start learn to tell them apart much sooner.
        self.preference = nn.Parameter(torch.randn(members * heads, span + 1))

    def forward(self, tokens: Tensor, mask: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Tokens `[M, N, T, W]` after the block, and keys and values for those that follow."""
        n, steps = tokens.shape[1:3]
        # The heads of all members stand side by side: [M, N, T, 3·H·D] becomes three of [N, M·H, T, D].
        split = self.attend(normalized(tokens)).view(self.members, n, steps, 3, self.heads, -1)
        query, *new = split.permute(3, 1, 0, 4, 2, 5).flatten(2, 3).unbind(0)
        keys, values = (torch.cat(pair, 2) for pair in zip(past, new))
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        seen = seen.unflatten(1, (self.members, self.heads)).permute(1, 0, 3, 2, 4).flatten(3)
        tokens = tokens + self.attended(seen)
        tokens = tokens + self.narrow(F.silu(self.widen(normalized(tokens))))
        return tokens, (keys[:, :, steps:], values[:, :, steps:])

    def nothing(self, latents: Tensor) -> Past:
        """The past of the first token, for latents `[M, N, ...]`: room for keys and values that the mask hides."""
        width = self.attend.weight.shape[1] // self.heads
        empty = latents.new_zeros(latents.shape[1], len(self.preference), self.span, width)
        return empty, empty

    def mask(self, before: int, steps: int) -> Tensor:
        """What is added to the attention of tokens to those of their span: `[M·H, T, span + T]`.

        Args:
            before: how many tokens went before them.
            steps: their number `T`.
        """
        place = torch.arange(steps, device=self.preference.device)
        distance = place[:, None] + self.span - torch.arange(self.span + steps, device=place.device)
        hidden = (distance < 0) | (distance > self.span) | (distance > before + place[:, None])
        return self.preference[:, distance.clamp(0, self.span)].masked_fill(hidden, -torch.inf)


def normalized(tokens: Tensor) -> Tensor:
    """Tokens `[..., W]` with mean 0 and variance 1; what takes them is linear, and scales and shifts as it will."""
    return F.layer_norm(tokens, tokens.shape[-1:])
