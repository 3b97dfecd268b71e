"""With two speakers, a rotary embedding binds each image token to the voice of its own person.

Label rotary position embedding (L-RoPE) of MultiTalk, arXiv:2505.22647. Names: S tokens of one latent frame, L tokens
of all latent frames, or this process's own share of them.
"""

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch.nn import functional as F

from infinitetalk.model.sequence_parallel import TokenShard

SPEAKER_BANDS = ((0.0, 4.0), (20.0, 24.0))  # rotary positions of the first and of the second speaker
BACKGROUND_POSITION = 12.0


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


def speaker_map(
    query: torch.Tensor, key: torch.Tensor, token_masks: torch.Tensor, shard: TokenShard | None = None
) -> torch.Tensor:
    """How strongly each token attends to each class of the first latent frame: person 1, person 2, background.

    query, key: 1, L, heads, head_dim, normalised and rotated; token_masks: 3, S. Returns 3, L in float32.

    The result is the attention weights averaged over a class's keys, 0 for a class without keys. It is computed as
    attention with the masks as values, so that no L x S matrix is stored.
    """
    tokens = token_masks.shape[1]
    first = key[:, :tokens] if shard is None else shard.gather(key, tokens)
    # In bfloat16 where possible: tensor cores, which are several times faster, do not multiply float32.
    dtype = torch.bfloat16 if query.dtype == torch.bfloat16 else torch.float32
    values = F.pad(token_masks.T.to(dtype), (0, query.shape[-1] - 3))  # S, head_dim: fused kernels need equal widths
    values = values[None, :, None].expand(1, tokens, query.shape[2], -1)
    out = dispatch_attention_fn(query.to(dtype), first.to(dtype), values.contiguous())
    seen = out[0, :, :, :3].float().mean(dim=1).T  # 3, L
    return seen / token_masks.sum(dim=1, keepdim=True).clamp(min=1)


def query_positions(classes: torch.Tensor, shard: TokenShard | None = None) -> torch.Tensor:
    """Rotary position of each token on the axis of speakers. classes: 3, L, from `speaker_map`. Returns L."""
    low, high = classes.amin(dim=1, keepdim=True), classes.amax(dim=1, keepdim=True)
    if shard is not None:
        low, high = shard.extremes(low, high)
    scaled = (classes - low) / (high - low + 1e-8)
    candidates = torch.stack(
        [
            *(first + (last - first) * scaled[person] for person, (first, last) in enumerate(SPEAKER_BANDS)),
            torch.full_like(scaled[0], BACKGROUND_POSITION),
        ]
    )
    return candidates.gather(0, classes.argmax(dim=0, keepdim=True))[0]


def key_positions(frames: int, tokens_per_person: int, device: torch.device) -> torch.Tensor:
    """Rotary positions of the voice tokens, the middle of each speaker's band: frames, 2 * tokens_per_person."""
    middles = torch.tensor([sum(band) / 2 for band in SPEAKER_BANDS], device=device)
    return middles.repeat_interleave(tokens_per_person).expand(frames, -1)
