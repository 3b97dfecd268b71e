"""Device, precision, attention and compilation of the model server, chosen once at its start."""

import argparse
from dataclasses import dataclass

import torch

from infinitetalk.acceleration.attention_backends import capability_of, choose_attention, require_attention


@dataclass(frozen=True)
class RuntimeOptions:
    device: torch.device
    dtype: torch.dtype
    vae_dtype: torch.dtype
    attention: str  # a backend of diffusers
    compiled: bool  # by torch.compile, except for streamed plans

    @classmethod
    def of_arguments(cls, options: argparse.Namespace, device: torch.device) -> "RuntimeOptions":
        """options: of `serve`. Raises AttentionUnavailable `attention_missing` before anything is loaded."""
        attention = options.attention or choose_attention(
            capability_of(device), approximate=options.approximate_attention
        )
        require_attention(attention)
        return cls(
            device=device,
            dtype=getattr(torch, options.dtype),
            vae_dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
            attention=attention,
            compiled=device.type == "cuda" and not options.no_compile,
        )
