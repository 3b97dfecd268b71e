"""Floating-point operations of the networks, counted by torch while they run on tensors without data (meta)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch.utils.flop_counter import FlopCounterMode

from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

CLIP_TOKENS = 257  # of a 224 x 224 image in patches of 14, and the class token


def latent_frames(num_frames: int) -> int:
    return (num_frames - 1) // 4 + 1


def transformer_inputs(
    config: Mapping[str, Any], num_frames: int, height: int, width: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs of one pass for one person. num_frames: 4n + 1; height, width: pixels."""
    frames, features = latent_frames(num_frames), (config["audio_blocks"], config["audio_channels"])
    first, latter = config["audio_window"], config["audio_window"] + config["vae_scale"] - 1
    return {
        "hidden_states": (1, config["in_channels"], frames, height // 8, width // 8),
        "timestep": (1,),
        "encoder_hidden_states": (1, config["text_len"] // 16, config["text_dim"]),
        "encoder_hidden_states_image": (1, CLIP_TOKENS, config["image_dim"]),
        "audio_first": (1, 1, first, *features),
        "audio_latter": (1, frames - 1, latter, *features),
    }


def transformer_flops(config: Mapping[str, Any], num_frames: int, height: int, width: int) -> int:
    """Operations of one pass; config: arguments of InfiniteTalkTransformer3DModel."""
    with torch.device("meta"):
        transformer = InfiniteTalkTransformer3DModel(**config)
        inputs = {
            name: torch.empty(shape) for name, shape in transformer_inputs(config, num_frames, height, width).items()
        }
    return _count(lambda: transformer(**inputs))


def vae_flops(config: Mapping[str, Any], num_frames: int, height: int, width: int) -> tuple[int, int]:
    """Operations to encode, and to decode, num_frames frames; config: arguments of AutoencoderKLWan."""
    with torch.device("meta"):
        vae = AutoencoderKLWan(**config)
        video = torch.empty(1, 3, num_frames, height, width)
        latents = torch.empty(1, config["z_dim"], latent_frames(num_frames), height // 8, width // 8)
    return _count(lambda: vae.encode(video)), _count(lambda: vae.decode(latents))


def _count(call: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
