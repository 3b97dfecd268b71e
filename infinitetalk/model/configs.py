"""Sizes of the networks: from the names in the published config files to the arguments of our classes.

Besides, the sizes of the tiny checkpoint, in the published names.
"""

from typing import Any

# Statistics of Wan2.1's autoencoder, which are not in its file of weights.
LATENTS_MEAN = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
]  # fmt: skip
LATENTS_STD = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
]  # fmt: skip


def transformer_config(reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of InfiniteTalkTransformer3DModel. Sizes that are not named get the published model's value."""
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


def umt5_config(reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of transformers' UMT5Config."""
    dim_attn, heads = reference.get("dim_attn", 4096), reference.get("num_heads", 64)
    return {
        "vocab_size": reference.get("vocab_size", 256_384),
        "d_model": reference.get("dim", 4096),
        "d_kv": dim_attn // heads,
        "d_ff": reference.get("dim_ffn", 10_240),
        "num_layers": reference.get("encoder_layers", 24),
        "num_heads": heads,
        "relative_attention_num_buckets": reference.get("num_buckets", 32),
        "relative_attention_max_distance": reference.get("max_distance", 128),
        "layer_norm_epsilon": reference.get("layer_norm_eps", 1e-6),
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }


def clip_config(reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of transformers' CLIPVisionConfig."""
    dim = reference.get("dim", 1280)
    return {
        "image_size": reference.get("image_size", 224),
        "patch_size": reference.get("patch_size", 14),
        "hidden_size": dim,
        "intermediate_size": int(dim * reference.get("mlp_ratio", 4)),
        "num_attention_heads": reference.get("num_heads", 16),
        "num_hidden_layers": reference.get("num_layers", 32),
        "hidden_act": reference.get("activation", "gelu"),  # exact, not the tanh approximation
        "layer_norm_eps": reference.get("norm_eps", 1e-5),
    }


def vae_config(reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKLWan."""
    return {
        "base_dim": reference.get("base_dim", 96),
        "z_dim": reference.get("z_dim", 16),
        "dim_mult": reference.get("dim_mult", [1, 2, 4, 4]),
        "num_res_blocks": reference.get("num_res_blocks", 2),
        "attn_scales": reference.get("attn_scales", []),
        "temperal_downsample": reference.get("temperal_downsample", [False, True, True]),
        "latents_mean": LATENTS_MEAN,
        "latents_std": LATENTS_STD,
    }


# The tiny checkpoint: small enough for a CPU.
TINY_SIZES: dict[str, Any] = {
    "buckets": {
        "480p": {"0.67": [64, 96], "1.00": [80, 80], "1.50": [96, 64], "0.26": [48, 176], "3.80": [176, 48]},
        "720p": {"0.67": [96, 144], "1.00": [112, 112], "1.50": [144, 96]},
    },
    "num_frames_per_chunk": 17,
    "motion_frames": 5,
}
TINY_TRANSFORMER: dict[str, Any] = {
    "model_type": "i2v",
    "dim": 48,
    "ffn_dim": 96,
    "freq_dim": 32,
    "in_dim": 36,
    "num_heads": 2,
    "num_layers": 2,
    "out_dim": 16,
    "text_len": 512,
    "eps": 1e-6,
    "sizes": TINY_SIZES,  # see `infinitetalk.buckets.Sizes`
}
TINY_SPEECH: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
}
TINY_TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "dim": 32,
    "dim_attn": 32,
    "dim_ffn": 48,
    "num_heads": 4,
    "encoder_layers": 2,
}
TINY_IMAGE: dict[str, Any] = {"dim": 160, "num_heads": 2, "num_layers": 3, "mlp_ratio": 2}
TINY_VAE: dict[str, Any] = {"base_dim": 4}
# Widths that the transformer shares with its encoders; as in the published files, its config does not name them.
TINY_SHARED: dict[str, Any] = {
    "text_dim": TINY_TEXT["dim"],
    "img_dim": TINY_IMAGE["dim"],
    "audio_blocks": TINY_SPEECH["num_hidden_layers"],
    "audio_channels": TINY_SPEECH["hidden_size"],
}
