"""One layer of the transformer: self attention, text and image attention, voice attention, feed-forward.

Names: T latent frames, L tokens of all of them or this process's own share. The batch size is one.
"""

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import nn

from infinitetalk.model.audio_attention import AudioAttention
from infinitetalk.model.rope import Rotary, rotate
from infinitetalk.model.sequence_parallel import TokenShard
from infinitetalk.model.speaker_rope import query_positions, speaker_map


class SelfAttentionProcessor(WanAttnProcessor):
    """Wan's self attention that, given token masks, also returns how strongly each token attends to each speaker."""

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: None,
        token_masks: torch.Tensor | None,
        rotary_emb: Rotary,
        shard: TokenShard | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """hidden_states: 1, L, dim; token_masks: 3, S or None. Returns 1, L, dim and the map 3, L or None."""
        query = rotate(attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)), rotary_emb)
        key = rotate(attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1)), rotary_emb)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        if shard is None:
            out = dispatch_attention_fn(query, key, value, backend=self._attention_backend)
        else:
            states = (shard.to_heads(states) for states in (query, key, value))
            out = shard.to_tokens(dispatch_attention_fn(*states, backend=self._attention_backend))
        out = attn.to_out[0](out.flatten(2, 3).type_as(query))
        classes = None if token_masks is None else speaker_map(query, key, token_masks, shard)
        return out, classes


class InfiniteTalkTransformerBlock(nn.Module):
    def __init__(self, *, dim: int, ffn_dim: int, heads: int, eps: float, audio_dim: int) -> None:
        super().__init__()
        head_dim = dim // heads
        # 1. Self attention
        self.norm1 = FP32LayerNorm(dim, eps, elementwise_affine=False)
        self.attn1 = WanAttention(dim, heads, head_dim, eps, processor=SelfAttentionProcessor())
        # 2. Text and image attention
        self.norm2 = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.attn2 = WanAttention(
            dim,
            heads,
            head_dim,
            eps,
            added_kv_proj_dim=dim,
            cross_attention_dim_head=head_dim,
            processor=WanAttnProcessor(),
        )
        # 3. Voice attention
        self.norm_x = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.audio_cross_attn = AudioAttention(dim=dim, heads=heads, audio_dim=audio_dim)
        # 4. Feed-forward
        self.norm3 = FP32LayerNorm(dim, eps, elementwise_affine=False)
        self.ffn = FeedForward(dim, inner_dim=ffn_dim, activation_fn="gelu-approximate")
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        audio_states: torch.Tensor,
        temb: torch.Tensor,
        rotary_emb: Rotary,
        token_masks: torch.Tensor | None,
        shard: TokenShard | None,
    ) -> torch.Tensor:
        """hidden_states: 1, L, dim; encoder_hidden_states: 1, image and text tokens, dim; audio_states: T, tokens,
        audio_dim; temb: 1, 6, dim in float32; token_masks: 3, S with two speakers. Returns 1, L, dim.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table.float() + temb).chunk(6, dim=1)

        normed = (self.norm1(hidden_states.float()) * (1 + scale1) + shift1).type_as(hidden_states)
        attended, classes = self.attn1(normed, None, token_masks, rotary_emb, shard=shard)
        hidden_states = (hidden_states.float() + attended * gate1).type_as(hidden_states)

        normed = self.norm2(hidden_states.float()).type_as(hidden_states)
        hidden_states = hidden_states + self.attn2(normed, encoder_hidden_states)

        positions = None if classes is None else query_positions(classes, shard)
        normed = self.norm_x(hidden_states.float()).type_as(hidden_states)
        hidden_states = hidden_states + self.audio_cross_attn(normed, audio_states, positions, shard)

        normed = (self.norm3(hidden_states.float()) * (1 + scale2) + shift2).type_as(hidden_states)
        return (hidden_states.float() + self.ffn(normed).float() * gate2).type_as(hidden_states)
