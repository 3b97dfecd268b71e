"""InfiniteTalk's additions to Wan: voice features become tokens, and image tokens attend to them.

Sources: InfiniteTalk, arXiv:2508.14033, and MultiTalk, arXiv:2505.22647.
"""

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from torch import nn
from torch.nn import functional as F

from infinitetalk.model.sequence_parallel import TokenShard
from infinitetalk.model.speaker_rope import key_positions, rotate_by_position


class AudioProjection(nn.Module):
    """Windows of voice features -> `tokens` tokens for each latent frame."""

    def __init__(
        self,
        *,
        first_rows: int,
        latter_rows: int,
        blocks: int,
        channels: int,
        hidden_dim: int,
        output_dim: int,
        tokens: int,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.output_dim = output_dim
        self.proj1 = nn.Linear(first_rows * blocks * channels, hidden_dim)
        self.proj1_vf = nn.Linear(latter_rows * blocks * channels, hidden_dim)
        self.proj2 = nn.Linear(hidden_dim, hidden_dim)
        self.proj3 = nn.Linear(hidden_dim, tokens * output_dim)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, first: torch.Tensor, latter: torch.Tensor) -> torch.Tensor:
        """first: people, 1, rows, blocks, channels; latter: people, T - 1, rows, blocks, channels.

        Returns people, T, tokens, output_dim.
        """
        hidden_states = torch.cat(
            [F.relu(self.proj1(first.flatten(2))), F.relu(self.proj1_vf(latter.flatten(2)))], dim=1
        )
        hidden_states = self.proj3(F.relu(self.proj2(hidden_states)))
        hidden_states = hidden_states.unflatten(2, (self.tokens, self.output_dim))
        norm = self.norm
        normed = F.layer_norm(
            hidden_states.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps
        )
        return normed.type_as(hidden_states)


class AudioAttention(nn.Module):
    """Within each latent frame, the image tokens attend to the voice tokens."""

    backend: AttentionBackendName | None = None  # None: the active one of diffusers

    def __init__(self, *, dim: int, heads: int, audio_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(audio_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        audio_states: torch.Tensor,
        positions: torch.Tensor | None = None,
        shard: TokenShard | None = None,
    ) -> torch.Tensor:
        """hidden_states: 1, L, dim; audio_states: T, tokens, audio_dim, with two speakers the first one's tokens first.

        positions: L, of the image tokens on the axis of speakers; None with one speaker.
        shard: this process's tokens, when L is only its share. Returns 1, L, dim.
        """
        query = self.q_linear(hidden_states)
        if shard is not None:
            audio_states = audio_states[shard.frames]
            query = F.pad(query, (0, 0, *shard.padding))
        frames, tokens, _ = audio_states.shape
        query = query.unflatten(1, (frames, -1)).squeeze(0)  # T, S, dim
        key, value = self.kv_linear(audio_states).chunk(2, dim=-1)  # T, tokens, dim
        query, key, value = (states.unflatten(2, (self.heads, -1)) for states in (query, key, value))
        if positions is not None:
            if shard is not None:
                positions = F.pad(positions, shard.padding)
            query = rotate_by_position(query, positions.unflatten(0, (frames, -1)))
            key = rotate_by_position(key, key_positions(frames, tokens // 2, key.device))
        out = dispatch_attention_fn(query, key, value, backend=self.backend)
        out = out.flatten(2, 3).flatten(0, 1)
        if shard is not None:
            out = out.narrow(0, shard.padding[0], hidden_states.shape[1])
        return self.proj(out.unsqueeze(0).type_as(hidden_states))
