"""The transformer from the published files: base and InfiniteTalk's own, with LoRA files merged into them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infinitetalk.acceleration.fp8 import STORED, quantise_blocks, use_float8_linears
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.convert import rename_transformer
from infinitetalk.checkpoints.files import (
    load_strictly,
    read_json,
    read_safetensors,
    read_shards,
    require_finite,
    tensor_shape,
)
from infinitetalk.checkpoints.lora import LoraReport, merge_lora
from infinitetalk.checkpoints.quanto import read_quantised
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.model.configs import transformer_config
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

logger = logging.getLogger(__name__)


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
    """Returns the transformer's arguments, its weights on the device in our key names, and a report per LoRA file.

    Where the base and InfiniteTalk's file have the same key, InfiniteTalk's file wins. Raises InvalidCheckpoint, also
    for a LoRA file that changes nothing at all. Unused tensors of a LoRA file are logged.
    """
    base = weights / hub.BASE
    adapter = hub.infinitetalk_file(weights, speakers)
    tensors = {**read_shards(base), **read_safetensors(adapter)}
    source = f"{base} with {adapter.name}"
    # One tensor at a time from the memory-mapped files onto the device: the large files are read once.
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
    """speakers: 1 or 2, each with its own file of InfiniteTalk. fp8: store the blocks' linear layers in 8 bits, see
    `acceleration.fp8`; a file merged with --fp8 loads sooner. Raises InvalidCheckpoint.
    """
    arguments, tensors, _ = read_transformer(weights, speakers=speakers, loras=loras, dtype=dtype, device=device)
    if fp8:
        quantise_blocks(tensors)
    return _filled(arguments, tensors, str(weights))


def load_quantised_transformer(
    weights: Path, path: Path, *, loras: Sequence[LoraFile] = (), device: str = "cpu"
) -> InfiniteTalkTransformer3DModel:
    """The whole transformer from one file of optimum-quanto, widened to bfloat16: it saves download and disk, not
    memory. weights: the folder with the base's and the speech encoder's config.json.

    Raises InvalidCheckpoint, with LoRA files always (`lora_quantised`): their small changes would be added to values
    that are already rounded to 8 bits.
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
        raise InvalidCheckpoint("lora_unknown", f"{lora.path} has no tensor in a known LoRA format.")
    if report.unused:
        shown = ", ".join(report.unused[:10])
        logger.warning("%s: %d tensors are not used: %s", lora.path.name, len(report.unused), shown)
    return report


def empty_transformer(arguments: dict[str, Any], tensors: dict[str, torch.Tensor]) -> InfiniteTalkTransformer3DModel:
    """A transformer on the meta device, without data, with an 8-bit layer for each tensor that is stored in 8 bits."""
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**arguments)
    use_float8_linears(model, [key for key, tensor in tensors.items() if tensor.dtype == STORED])
    return model


def _filled(arguments: dict[str, Any], tensors: dict[str, torch.Tensor], source: str) -> InfiniteTalkTransformer3DModel:
    model = empty_transformer(arguments, tensors)
    load_strictly(model, tensors, source)
    return model.eval()


def _transformer_arguments(weights: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read from the base's config.json; sizes that are not there, from the tensors and the speech encoder's config."""
    speech = read_json(weights / hub.SPEECH / "config.json")
    unnamed = {"num_hidden_layers", "hidden_size"} - speech.keys()
    if unnamed:
        raise InvalidCheckpoint("file_damaged", f"{hub.SPEECH}/config.json lacks {', '.join(sorted(unnamed))}.")
    output_dim = tensor_shape(tensors, "audio_proj.norm.weight", weights)[0]
    return transformer_config(
        {
            **read_json(weights / hub.BASE / "config.json"),
            "text_dim": tensor_shape(tensors, "condition_embedder.text_embedder.linear_1.weight", weights)[1],
            "img_dim": tensor_shape(tensors, "condition_embedder.image_embedder.norm1.weight", weights)[0],
            "audio_blocks": speech["num_hidden_layers"],
            "audio_channels": speech["hidden_size"],
            "intermediate_dim": tensor_shape(tensors, "audio_proj.proj2.weight", weights)[0],
            "output_dim": output_dim,
            "context_tokens": tensor_shape(tensors, "audio_proj.proj3.weight", weights)[0] // output_dim,
        }
    )
