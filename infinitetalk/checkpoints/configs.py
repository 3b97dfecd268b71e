"""From the sizes as the published config files name them to the arguments of our classes."""

from typing import Any


def transformer_config(reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of InfiniteTalkTransformer3DModel. What the file does not name gets the published model's size."""
    heads = reference.get("num_heads", 40)
    dim = reference.get("dim", 5120)
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": reference.get("in_dim", 36),
        "out_channels": reference.get("out_dim", 16),
        "text_dim": reference.get("text_dim", 4096),
        "text_len": reference.get("text_len", 512),
        "freq_dim": reference.get("freq_dim", 256),
        "ffn_dim": reference.get("ffn_dim", 13824),
        "num_layers": reference.get("num_layers", 40),
        "eps": reference.get("eps", 1e-6),
        "image_dim": reference.get("img_dim", 1280),
        "audio_window": reference.get("audio_window", 5),
        "audio_blocks": reference.get("audio_blocks", 12),
        "audio_channels": reference.get("audio_channels", 768),
        "audio_hidden_dim": reference.get("intermediate_dim", 512),
        "audio_dim": reference.get("output_dim", 768),
        "audio_tokens": reference.get("context_tokens", 32),
        "vae_scale": reference.get("vae_scale", 4),
    }
