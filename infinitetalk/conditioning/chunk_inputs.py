"""The inputs of the transformer for one chunk, the same in each of its steps."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class ChunkInputs:
    """The inputs of a chunk's denoising. P people, T latent frames of h x w."""

    index: int
    noise: torch.Tensor  # 1, 16, T, h, w
    start: torch.Tensor  # 1, 16, k, h, w: the given values of the first k latent frames
    condition: torch.Tensor  # 1, 20, T, h, w: mask and latents of the reference
    image_embeds: torch.Tensor  # 1, image tokens, image_dim
    prompt: torch.Tensor  # 1, n, text_dim
    negative_prompt: torch.Tensor | None  # 1, n, text_dim; None when no branch needs it
    audio_first: torch.Tensor  # P, 1, rows, blocks, channels
    audio_latter: torch.Tensor  # P, T - 1, rows, blocks, channels
    speaker_masks: torch.Tensor | None  # 3, h, w; None with one speaker

    def to(self, device: torch.device) -> "ChunkInputs":
        """All tensors on the device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                moved[field.name] = value.to(device)
        return replace(self, **moved)
