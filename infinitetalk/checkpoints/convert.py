"""The tables that translate key names of the published files into those of our classes.

Left: the names in the files of Wan2.1, CLIP and UMT5. Right: the names in diffusers and transformers. InfiniteTalk's
additions (audio projection, audio attention) keep their names. A key without a rule is an error.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

from infinitetalk.errors import InvalidCheckpoint

Tensors = Mapping[str, torch.Tensor]

_TRANSFORMER = (
    (r"patch_embedding\.(weight|bias)", r"patch_embedding.\1"),
    (r"text_embedding\.0\.(weight|bias)", r"condition_embedder.text_embedder.linear_1.\1"),
    (r"text_embedding\.2\.(weight|bias)", r"condition_embedder.text_embedder.linear_2.\1"),
    (r"time_embedding\.0\.(weight|bias)", r"condition_embedder.time_embedder.linear_1.\1"),
    (r"time_embedding\.2\.(weight|bias)", r"condition_embedder.time_embedder.linear_2.\1"),
    (r"time_projection\.1\.(weight|bias)", r"condition_embedder.time_proj.\1"),
    (r"img_emb\.proj\.0\.(weight|bias)", r"condition_embedder.image_embedder.norm1.\1"),
    (r"img_emb\.proj\.1\.(weight|bias)", r"condition_embedder.image_embedder.ff.net.0.proj.\1"),
    (r"img_emb\.proj\.3\.(weight|bias)", r"condition_embedder.image_embedder.ff.net.2.\1"),
    (r"img_emb\.proj\.4\.(weight|bias)", r"condition_embedder.image_embedder.norm2.\1"),
    (r"head\.head\.(weight|bias)", r"proj_out.\1"),
    (r"head\.modulation", r"scale_shift_table"),
    (r"blocks\.(\d+)\.modulation", r"blocks.\1.scale_shift_table"),
    (r"blocks\.(\d+)\.self_attn\.([qkv])\.(weight|bias)", r"blocks.\1.attn1.to_\2.\3"),
    (r"blocks\.(\d+)\.self_attn\.o\.(weight|bias)", r"blocks.\1.attn1.to_out.0.\2"),
    (r"blocks\.(\d+)\.self_attn\.norm_([qk])\.weight", r"blocks.\1.attn1.norm_\2.weight"),
    (r"blocks\.(\d+)\.cross_attn\.([qkv])\.(weight|bias)", r"blocks.\1.attn2.to_\2.\3"),
    (r"blocks\.(\d+)\.cross_attn\.o\.(weight|bias)", r"blocks.\1.attn2.to_out.0.\2"),
    (r"blocks\.(\d+)\.cross_attn\.norm_([qk])\.weight", r"blocks.\1.attn2.norm_\2.weight"),
    (r"blocks\.(\d+)\.cross_attn\.([kv])_img\.(weight|bias)", r"blocks.\1.attn2.add_\2_proj.\3"),
    (r"blocks\.(\d+)\.cross_attn\.norm_k_img\.weight", r"blocks.\1.attn2.norm_added_k.weight"),
    # Another number: diffusers counts the norms in the order of their use.
    (r"blocks\.(\d+)\.norm3\.(weight|bias)", r"blocks.\1.norm2.\2"),
    (r"blocks\.(\d+)\.ffn\.0\.(weight|bias)", r"blocks.\1.ffn.net.0.proj.\2"),
    (r"blocks\.(\d+)\.ffn\.2\.(weight|bias)", r"blocks.\1.ffn.net.2.\2"),
    # InfiniteTalk's own
    (r"(audio_proj\.(?:proj1|proj1_vf|proj2|proj3|norm)\.(?:weight|bias))", r"\1"),
    (r"(blocks\.\d+\.norm_x\.(?:weight|bias))", r"\1"),
    (r"(blocks\.\d+\.audio_cross_attn\.(?:q_linear|kv_linear|proj)\.(?:weight|bias))", r"\1"),
)
_UMT5 = (
    (r"token_embedding\.weight", r"shared.weight"),
    (r"blocks\.(\d+)\.norm1\.weight", r"encoder.block.\1.layer.0.layer_norm.weight"),
    (r"blocks\.(\d+)\.norm2\.weight", r"encoder.block.\1.layer.1.layer_norm.weight"),
    (r"blocks\.(\d+)\.attn\.([qkvo])\.weight", r"encoder.block.\1.layer.0.SelfAttention.\2.weight"),
    (
        r"blocks\.(\d+)\.pos_embedding\.embedding\.weight",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    (r"blocks\.(\d+)\.ffn\.gate\.0\.weight", r"encoder.block.\1.layer.1.DenseReluDense.wi_0.weight"),
    (r"blocks\.(\d+)\.ffn\.fc1\.weight", r"encoder.block.\1.layer.1.DenseReluDense.wi_1.weight"),
    (r"blocks\.(\d+)\.ffn\.fc2\.weight", r"encoder.block.\1.layer.1.DenseReluDense.wo.weight"),
    (r"norm\.weight", r"encoder.final_layer_norm.weight"),
)
_CLIP = (
    (r"visual\.cls_embedding", r"embeddings.class_embedding"),
    (r"visual\.pos_embedding", r"embeddings.position_embedding.weight"),
    (r"visual\.patch_embedding\.weight", r"embeddings.patch_embedding.weight"),
    (r"visual\.pre_norm\.(weight|bias)", r"pre_layrnorm.\1"),
    (r"visual\.post_norm\.(weight|bias)", r"post_layernorm.\1"),
    (r"visual\.transformer\.(\d+)\.norm([12])\.(weight|bias)", r"encoder.layers.\1.layer_norm\2.\3"),
    (r"visual\.transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)", r"encoder.layers.\1.self_attn.qkv.\2"),
    (r"visual\.transformer\.(\d+)\.attn\.proj\.(weight|bias)", r"encoder.layers.\1.self_attn.out_proj.\2"),
    (r"visual\.transformer\.(\d+)\.mlp\.0\.(weight|bias)", r"encoder.layers.\1.mlp.fc1.\2"),
    (r"visual\.transformer\.(\d+)\.mlp\.2\.(weight|bias)", r"encoder.layers.\1.mlp.fc2.\2"),
)
# In the CLIP file beside the image tower, and not used here.
_CLIP_UNUSED = re.compile(r"visual\.head|textual\..*|log_scale")


def transformer_key(original: str) -> str | None:
    """Our name for a key of the transformer in the published files; None for an unknown key."""
    return _rename(original, _TRANSFORMER)


def rename_transformer(tensors: Tensors, source: str) -> dict[str, torch.Tensor]:
    return _rename_all(tensors, _TRANSFORMER, source)


def rename_umt5(tensors: Tensors, source: str) -> dict[str, torch.Tensor]:
    return _rename_all(tensors, _UMT5, source)


def rename_clip(tensors: Tensors, source: str) -> dict[str, torch.Tensor]:
    """The image tower only, its joint query, key and value split into three."""
    used = {key: tensor for key, tensor in tensors.items() if not _CLIP_UNUSED.fullmatch(key)}
    renamed = {}
    for key, tensor in _rename_all(used, _CLIP, source).items():
        if ".qkv." in key:
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[key.replace(".qkv.", f".{name}_proj.")] = part
        elif key in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
            renamed[key] = tensor.reshape(tensor.shape[-1]) if key.endswith("class_embedding") else tensor[0]
        else:
            renamed[key] = tensor
    return renamed


def rename_vae(tensors: Tensors) -> dict[str, torch.Tensor]:
    renamed: dict[str, torch.Tensor] = convert_wan_vae_to_diffusers(dict(tensors))
    return renamed


def _rename(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(replacement)
    return None


def _rename_all(tensors: Tensors, rules: Iterable[tuple[str, str]], source: str) -> dict[str, torch.Tensor]:
    renamed, unknown = {}, []
    for key, tensor in tensors.items():
        ours = _rename(key, rules)
        if ours is None:
            unknown.append(key)
        else:
            renamed[ours] = tensor
    if unknown:
        raise InvalidCheckpoint("unexpected_keys", f"{source} has unknown keys: {_first(unknown)}")
    return renamed


def _first(keys: list[str], limit: int = 10) -> str:
    return ", ".join(sorted(keys)[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
