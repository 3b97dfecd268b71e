"""A whole pipeline from a folder of weights."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from transformers import CLIPVisionModel

from infinitetalk.acceleration.compile import put_channels_last
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.files import read_json
from infinitetalk.checkpoints.load_networks import (
    LoraFile,
    load_image_encoder,
    load_speech_encoder,
    load_text_encoder,
    load_transformer,
    load_vae,
)
from infinitetalk.checkpoints.merge import load_merged
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.conditioning.image import BUCKETS, Buckets
from infinitetalk.conditioning.text_encoder import PromptEncoder
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import InfiniteTalkPipeline, Settings


@dataclass(frozen=True)
class Encoders:
    """All networks but the transformer."""

    vae: AutoencoderKLWan
    image_encoder: CLIPVisionModel
    text_encoder: PromptEncoder
    speech_encoder: SpeechEncoder

    def pipeline(self, transformer: InfiniteTalkTransformer3DModel, weights: Path) -> InfiniteTalkPipeline:
        return InfiniteTalkPipeline(
            transformer=transformer,
            vae=self.vae,
            image_encoder=self.image_encoder,
            text_encoder=self.text_encoder,
            buckets=_buckets(weights),
        )


def load_encoders(
    weights: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
    text_device: str | None = None,
    vae_dtype: torch.dtype = torch.float32,
) -> Encoders:
    """text_device: of the largest of them, if it is to lie elsewhere. Raises InvalidCheckpoint."""
    text_encoder = load_text_encoder(weights, dtype)
    text_encoder.model.to(text_device or device)
    speech_encoder = load_speech_encoder(weights)
    speech_encoder.model.to(device)
    vae = load_vae(weights, vae_dtype).to(device)
    if device != "cpu":
        put_channels_last(vae)
    image_encoder = load_image_encoder(weights, torch.float32 if device == "cpu" else torch.float16).to(device)
    return Encoders(vae, image_encoder, text_encoder, speech_encoder)


def load_pipeline(
    weights: Path,
    *,
    speakers: int = 1,
    loras: Sequence[LoraFile] = (),
    merged: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
) -> tuple[InfiniteTalkPipeline, SpeechEncoder]:
    """weights: laid out as `infinitetalk.checkpoints.hub` says. merged: a file of `infinitetalk merge`, in which the
    speakers and LoRA files are decided already. Raises InvalidCheckpoint.
    """
    if merged is None:
        transformer = load_transformer(weights, speakers=speakers, loras=loras, dtype=dtype, device=device)
    else:
        transformer = load_merged(merged, device=device)
    encoders = load_encoders(weights, dtype=dtype, device=device)
    return encoders.pipeline(transformer.to(device), weights), encoders.speech_encoder


def sized(settings: Settings, weights: Path) -> Settings:
    """The settings with the chunk length of a checkpoint for tests, or as they are."""
    if not (weights / hub.SIZES).is_file():
        return settings
    sizes = read_json(weights / hub.SIZES)
    return dataclasses.replace(
        settings, num_frames_per_chunk=sizes["num_frames_per_chunk"], motion_frames=sizes["motion_frames"]
    )


def _buckets(weights: Path) -> dict[str, Buckets]:
    if not (weights / hub.SIZES).is_file():
        return BUCKETS
    tables = read_json(weights / hub.SIZES)["buckets"]
    return {
        resolution: {float(ratio): (height, width) for ratio, (height, width) in table.items()}
        for resolution, table in tables.items()
    }
