"""From the published files to loaded networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.checkpoints import layout
from infinitetalk.checkpoints.configs import clip_config, transformer_config, umt5_config, vae_config
from infinitetalk.checkpoints.lora import LoraReport, merge_lora
from infinitetalk.checkpoints.read import read_json, read_pth, read_safetensors, read_shards, require_finite
from infinitetalk.checkpoints.rename import rename_clip, rename_transformer, rename_umt5, rename_vae
from infinitetalk.checkpoints.strict import load_strictly
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.speech_features import SpeechEncoder
from infinitetalk.text import PromptEncoder
from infinitetalk.transformer import InfiniteTalkTransformer3DModel

CLIP_HEAD_WIDTH = 80  # of ViT-H; the file does not tell the number of heads


@dataclass(frozen=True)
class LoraFile:
    path: Path
    scale: float


def read_transformer(
    weights: Path, *, speakers: int, loras: Sequence[LoraFile] = (), dtype: torch.dtype = torch.bfloat16
) -> tuple[dict[str, Any], dict[str, torch.Tensor], list[LoraReport]]:
    """The transformer's arguments and its weights in our key names, LoRA files folded in.

    InfiniteTalk's file comes after the base and wins where both have a key.
    """
    base = weights / layout.BASE
    adapter = layout.infinitetalk_file(weights, speakers)
    tensors = {**read_shards(base), **read_safetensors(adapter)}
    source = f"{base} with {adapter.name}"
    require_finite(tensors, source)
    renamed = rename_transformer(tensors, source)
    renamed = {key: tensor.to(dtype) for key, tensor in renamed.items()}
    reports = [merge_lora(renamed, read_safetensors(lora.path), lora.scale, lora.path.name) for lora in loras]
    return _transformer_arguments(weights, renamed), renamed, reports


def load_transformer(
    weights: Path, *, speakers: int, loras: Sequence[LoraFile] = (), dtype: torch.dtype = torch.bfloat16
) -> InfiniteTalkTransformer3DModel:
    arguments, tensors, _ = read_transformer(weights, speakers=speakers, loras=loras, dtype=dtype)
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**arguments)
    load_strictly(model, tensors, str(weights))
    return model.eval()


def load_text_encoder(weights: Path, dtype: torch.dtype = torch.bfloat16) -> PromptEncoder:
    path = weights / layout.BASE / layout.TEXT_ENCODER
    tensors = read_pth(path)
    require_finite(tensors, str(path))
    vocabulary, dim = _shape(tensors, "token_embedding.weight", path)
    buckets, heads = _shape(tensors, "blocks.0.pos_embedding.embedding.weight", path)
    config = umt5_config(
        {
            "vocab_size": vocabulary,
            "dim": dim,
            "dim_attn": _shape(tensors, "blocks.0.attn.q.weight", path)[0],
            "dim_ffn": _shape(tensors, "blocks.0.ffn.fc1.weight", path)[0],
            "encoder_layers": _count_blocks(tensors, "blocks."),
            "num_heads": heads,
            "num_buckets": buckets,
        }
    )
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**config))
    renamed = {key: tensor.to(dtype) for key, tensor in rename_umt5(tensors, str(path)).items()}
    load_strictly(model, {**renamed, "encoder.embed_tokens.weight": renamed["shared.weight"]}, str(path))
    tokenizer = AutoTokenizer.from_pretrained(weights / layout.BASE / layout.TOKENIZER, local_files_only=True)
    return PromptEncoder(model.eval(), tokenizer)


def load_image_encoder(weights: Path, dtype: torch.dtype = torch.float16) -> CLIPVisionModel:
    path = weights / layout.BASE / layout.IMAGE_ENCODER
    tensors = read_pth(path)
    _, tokens, dim = _shape(tensors, "visual.pos_embedding", path)
    patch = _shape(tensors, "visual.patch_embedding.weight", path)[-1]
    config = clip_config(
        {
            "dim": dim,
            "patch_size": patch,
            "image_size": round((tokens - 1) ** 0.5) * patch,
            "mlp_ratio": _shape(tensors, "visual.transformer.0.mlp.0.weight", path)[0] // dim,
            "num_heads": max(1, dim // CLIP_HEAD_WIDTH),
            "num_layers": _count_blocks(tensors, "visual.transformer."),
        }
    )
    renamed = rename_clip(tensors, str(path))
    require_finite(renamed, str(path))
    model = CLIPVisionModel(CLIPVisionConfig(**config))  # Not on meta: it makes the positions' indices itself.
    load_strictly(model, {key: tensor.to(dtype) for key, tensor in renamed.items()}, str(path))
    return model.eval()


def load_vae(weights: Path, dtype: torch.dtype = torch.float32) -> AutoencoderKLWan:
    path = weights / layout.BASE / layout.VAE
    tensors = read_pth(path)
    require_finite(tensors, str(path))
    base_dim = _shape(tensors, "encoder.conv1.weight", path)[0]
    with torch.device("meta"):
        vae = AutoencoderKLWan(**vae_config({"base_dim": base_dim}))
    load_strictly(vae, {key: tensor.to(dtype) for key, tensor in rename_vae(tensors).items()}, str(path))
    return vae.eval()


def load_speech_encoder(weights: Path) -> SpeechEncoder:
    folder = weights / layout.SPEECH
    if not (folder / "config.json").is_file():
        raise InvalidCheckpoint("file_missing", f"There is no file {folder / 'config.json'}.")
    model = Wav2Vec2Model.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return SpeechEncoder(model.eval(), Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True))


def _transformer_arguments(weights: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the base's config says, and what only the shapes and the speech encoder's config tell."""
    speech = read_json(weights / layout.SPEECH / "config.json")
    output_dim = _shape(tensors, "audio_proj.norm.weight", weights)[0]
    return transformer_config(
        {
            **read_json(weights / layout.BASE / "config.json"),
            "text_dim": _shape(tensors, "condition_embedder.text_embedder.linear_1.weight", weights)[1],
            "img_dim": _shape(tensors, "condition_embedder.image_embedder.norm1.weight", weights)[0],
            "audio_blocks": speech["num_hidden_layers"],
            "audio_channels": speech["hidden_size"],
            "intermediate_dim": _shape(tensors, "audio_proj.proj2.weight", weights)[0],
            "output_dim": output_dim,
            "context_tokens": _shape(tensors, "audio_proj.proj3.weight", weights)[0] // output_dim,
        }
    )


def _shape(tensors: dict[str, torch.Tensor], key: str, path: Path) -> torch.Size:
    if key not in tensors:
        raise InvalidCheckpoint("wrong_keys", f"{path} has no {key}.")
    return tensors[key].shape


def _count_blocks(tensors: dict[str, torch.Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).partition(".")[0] for key in tensors if key.startswith(prefix)})
