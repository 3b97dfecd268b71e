"""From the published files to loaded networks."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.acceleration.fp8 import STORED, quantise_blocks, use_float8_linears
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.convert import rename_clip, rename_transformer, rename_umt5, rename_vae
from infinitetalk.checkpoints.files import (
    read_json,
    read_pth,
    read_safetensors,
    read_shards,
    require_file,
    require_finite,
)
from infinitetalk.checkpoints.lora import LoraReport, merge_lora
from infinitetalk.checkpoints.quanto import read_quantised
from infinitetalk.checkpoints.strict import load_strictly
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.conditioning.text_encoder import PromptEncoder
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.model.configs import clip_config, transformer_config, umt5_config, vae_config
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

logger = logging.getLogger(__name__)

CLIP_HEAD_WIDTH = 80  # of ViT-H; the file does not tell the number of heads


@dataclass(frozen=True)
class LoraFile:
    path: Path
    scale: float


def read_transformer(
    weights: Path,
    *,
    speakers: int,
    loras: Sequence[LoraFile] = (),
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
) -> tuple[dict[str, Any], dict[str, torch.Tensor], list[LoraReport]]:
    """The transformer's arguments and its weights in our key names, LoRA files folded in, on the device.

    InfiniteTalk's file comes after the base and wins where both have a key. Raises InvalidCheckpoint, for a LoRA file
    also when it changes nothing at all. What else a LoRA file holds in vain is logged.
    """
    base = weights / hub.BASE
    adapter = hub.infinitetalk_file(weights, speakers)
    tensors = {**read_shards(base), **read_safetensors(adapter)}
    source = f"{base} with {adapter.name}"
    # Tensor by tensor from the mapped files onto the device; the large files are read once.
    converted = {key: tensor.to(device, dtype) for key, tensor in tensors.items()}
    require_finite(converted, source)
    renamed = rename_transformer(converted, source)
    reports = [_merge(renamed, lora) for lora in loras]
    return _transformer_arguments(weights, renamed), renamed, reports


def load_transformer(
    weights: Path,
    *,
    speakers: int,
    loras: Sequence[LoraFile] = (),
    dtype: torch.dtype = torch.bfloat16,
    fp8: bool = False,
    device: str = "cpu",
) -> InfiniteTalkTransformer3DModel:
    """speakers: 1 or 2, each with its own file of InfiniteTalk. fp8: see `acceleration.fp8`; a merged file of that kind
    loads sooner. Raises InvalidCheckpoint.
    """
    arguments, tensors, _ = read_transformer(weights, speakers=speakers, loras=loras, dtype=dtype, device=device)
    if fp8:
        quantise_blocks(tensors)
    return _filled(arguments, tensors, str(weights))


def load_quantised_transformer(
    weights: Path, path: Path, *, loras: Sequence[LoraFile] = (), device: str = "cpu"
) -> InfiniteTalkTransformer3DModel:
    """The whole transformer from one file as optimum-quanto writes it, widened to bfloat16: it saves a download and
    disk, not memory. weights: the folder with the base's and the speech encoder's config.json.

    Raises InvalidCheckpoint, and `lora_quantised` when LoRA files are given: their small changes would be added to
    values already rounded to 8 bits.
    """
    if loras:
        raise InvalidCheckpoint("lora_quantised", f"LoRA files cannot be merged into the quantised weights of {path}.")
    tensors = {key: tensor.to(device, torch.bfloat16) for key, tensor in read_quantised(path).items()}
    require_finite(tensors, str(path))
    renamed = rename_transformer(tensors, str(path))
    return _filled(_transformer_arguments(weights, renamed), renamed, str(path))


def _merge(weights: dict[str, torch.Tensor], lora: LoraFile) -> LoraReport:
    tensors = read_safetensors(lora.path)
    require_finite(tensors, str(lora.path))
    report = merge_lora(weights, tensors, lora.scale, lora.path.name)
    if not report.changed:
        raise InvalidCheckpoint("lora_unknown", f"{lora.path} holds nothing that is known as LoRA.")
    if report.unused:
        shown = ", ".join(report.unused[:10])
        logger.warning("%s: %d tensors are of no use here: %s", lora.path.name, len(report.unused), shown)
    return report


def empty_transformer(arguments: dict[str, Any], tensors: dict[str, torch.Tensor]) -> InfiniteTalkTransformer3DModel:
    """Without data, to be filled with these tensors; with 8-bit layers where they are stored so."""
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**arguments)
    use_float8_linears(model, [key for key, tensor in tensors.items() if tensor.dtype == STORED])
    return model


def _filled(arguments: dict[str, Any], tensors: dict[str, torch.Tensor], source: str) -> InfiniteTalkTransformer3DModel:
    model = empty_transformer(arguments, tensors)
    load_strictly(model, tensors, source)
    return model.eval()


def load_text_encoder(weights: Path, dtype: torch.dtype = torch.bfloat16) -> PromptEncoder:
    path = weights / hub.BASE / hub.TEXT_ENCODER
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
    return PromptEncoder(model.eval(), _load_tokenizer(weights / hub.BASE / hub.TOKENIZER))


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    require_file(folder / "tokenizer_config.json")  # Without the folder its name would be taken for one on the hub.
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # The library of tokenizers raises bare Exceptions.
        raise InvalidCheckpoint("file_damaged", f"{folder} holds no tokenizer: {error}") from error


def load_image_encoder(weights: Path, dtype: torch.dtype = torch.float16) -> CLIPVisionModel:
    path = weights / hub.BASE / hub.IMAGE_ENCODER
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
    path = weights / hub.BASE / hub.VAE
    tensors = read_pth(path)
    require_finite(tensors, str(path))
    base_dim = _shape(tensors, "encoder.conv1.weight", path)[0]
    with torch.device("meta"):
        vae = AutoencoderKLWan(**vae_config({"base_dim": base_dim}))
    load_strictly(vae, {key: tensor.to(dtype) for key, tensor in rename_vae(tensors).items()}, str(path))
    return vae.eval()


def load_speech_encoder(weights: Path) -> SpeechEncoder:
    """Raises InvalidCheckpoint. The file may hold more, as its training did; it must not hold less."""
    folder = weights / hub.SPEECH
    path = folder / "model.safetensors"
    for name in ("config.json", "preprocessor_config.json", path.name):
        require_file(folder / name)
    try:
        model, facts = Wav2Vec2Model.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} or what lies beside it is damaged: {error}") from error
    # transformers fills what is missing with random values. What masks its training data is never used.
    missing = sorted(set(facts["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise InvalidCheckpoint("wrong_keys", f"{path} does not fit: missing: {', '.join(missing[:10])}")
    require_finite(model.state_dict(), str(path))
    return SpeechEncoder(model.eval(), extractor)


def _transformer_arguments(weights: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the base's config says, and what only the shapes and the speech encoder's config tell."""
    speech = read_json(weights / hub.SPEECH / "config.json")
    unnamed = {"num_hidden_layers", "hidden_size"} - speech.keys()
    if unnamed:
        raise InvalidCheckpoint("file_damaged", f"{hub.SPEECH}/config.json lacks {', '.join(sorted(unnamed))}.")
    output_dim = _shape(tensors, "audio_proj.norm.weight", weights)[0]
    return transformer_config(
        {
            **read_json(weights / hub.BASE / "config.json"),
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
