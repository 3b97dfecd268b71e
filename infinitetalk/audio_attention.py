"""What InfiniteTalk adds to Wan: voice features become tokens, and picture tokens attend to them.

Source: InfiniteTalk, arXiv:2508.14033, and MultiTalk, arXiv:2505.22647 (L-RoPE for two speakers).
"""

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from torch import nn
from torch.nn import functional as F

SPEAKER_BANDS = ((0.0, 4.0), (20.0, 24.0))  # rotary positions of the first and of the second speaker
BACKGROUND_POSITION = 12.0


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
    """Within each latent frame, its picture tokens attend to its voice tokens."""

    backend: AttentionBackendName | None = None  # None: the one that is active in diffusers

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
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """hidden_states: 1, T * S, dim; audio_states: T, tokens, audio_dim.

        rotary: speaker positions of the queries (T, S) and of the keys (T, tokens), with two speakers only.
        """
        frames = audio_states.shape[0]
        query = self.q_linear(hidden_states).unflatten(1, (frames, -1)).squeeze(0)  # T, S, dim
        key, value = self.kv_linear(audio_states).chunk(2, dim=-1)  # T, tokens, dim
        query, key, value = (states.unflatten(2, (self.heads, -1)) for states in (query, key, value))
        if rotary is not None:
            query_positions, key_positions = rotary
            query = rotate_by_position(query, query_positions)
            key = rotate_by_position(key, key_positions)
        out = dispatch_attention_fn(query, key, value, backend=self.backend)
        return self.proj(out.flatten(2, 3).flatten(0, 1).unsqueeze(0).type_as(hidden_states))


def rotate_by_position(states: torch.Tensor, positions: torch.Tensor, theta: float = 10_000.0) -> torch.Tensor:
    """1D rotary embedding over all channels of each head, by real-valued positions.

    states: batch, tokens, heads, head_dim; positions: batch, tokens.
    """
    half = torch.arange(0, states.shape[-1], 2, device=states.device, dtype=torch.float32)
    angles = positions.float()[..., None] * theta ** (-half / states.shape[-1])  # batch, tokens, head_dim / 2
    cos, sin = angles.cos().unsqueeze(2), angles.sin().unsqueeze(2)
    even, odd = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.flatten(-2).type_as(states)


def speaker_map(query: torch.Tensor, key: torch.Tensor, token_masks: torch.Tensor) -> torch.Tensor:
    """How much each token looks at each class of the first latent frame: person 1, person 2, background.

    query, key: 1, L, heads, head_dim, normalised and rotated; token_masks: 3, S. Returns 3, L in float32.

    The attention over the first frame's S keys is taken with the normalised masks as values, so that no L x S matrix
    is ever stored.
    """
    tokens = token_masks.shape[1]
    masks = token_masks.to(torch.float32)
    weights = masks / masks.sum(dim=1, keepdim=True)  # 3, S
    values = F.pad(weights.T, (0, query.shape[-1] - 3))  # S, head_dim: fused kernels want equal widths
    values = values[None, :, None].expand(1, tokens, query.shape[2], -1)
    out = dispatch_attention_fn(query.float(), key[:, :tokens].float(), values.contiguous())
    return out[0, :, :, :3].mean(dim=1).T


def query_positions(classes: torch.Tensor) -> torch.Tensor:
    """Where each token stands on the axis of speakers. classes: 3, L, of `speaker_map`. Returns L."""
    low, high = classes.amin(dim=1, keepdim=True), classes.amax(dim=1, keepdim=True)
    scaled = (classes - low) / (high - low + 1e-8)
    candidates = torch.stack(
        [
            *(first + (last - first) * scaled[person] for person, (first, last) in enumerate(SPEAKER_BANDS)),
            torch.full_like(scaled[0], BACKGROUND_POSITION),
        ]
    )
    return candidates.gather(0, classes.argmax(dim=0, keepdim=True))[0]


def key_positions(frames: int, tokens_per_person: int, device: torch.device) -> torch.Tensor:
    """The middle of each speaker's band for their voice tokens: frames, 2 * tokens_per_person."""
    middles = torch.tensor([sum(band) / 2 for band in SPEAKER_BANDS], device=device)
    return middles.repeat_interleave(tokens_per_person).expand(frames, -1)
