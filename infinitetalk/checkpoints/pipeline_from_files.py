"""A whole pipeline from a folder of weights, with the sizes that its checkpoint was made for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from infinitetalk.buckets import PUBLISHED_SIZES, Sizes
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.files import read_json
from infinitetalk.checkpoints.load_encoders import Encoders, load_encoders
from infinitetalk.checkpoints.load_transformer import LoraFile, load_transformer
from infinitetalk.checkpoints.merge import load_merged
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import InfiniteTalkPipeline
from infinitetalk.sampling.settings import Settings


def load_pipeline(
    weights: Path,
    *,
    speakers: int = 1,
    loras: Sequence[LoraFile] = (),
    merged: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
) -> tuple[InfiniteTalkPipeline, SpeechEncoder]:
    """weights: a folder laid out as in `infinitetalk.checkpoints.hub`. merged: a file of `infinitetalk merge`, used
    instead of `speakers` and `loras`, which were chosen when it was written. Raises InvalidCheckpoint.
    """
    if merged is None:
        transformer = load_transformer(weights, speakers=speakers, loras=loras, dtype=dtype, device=device)
    else:
        transformer = load_merged(merged, device=device)
    encoders = load_encoders(weights, dtype=dtype, device=device)
    return make_pipeline(transformer.to(device), encoders, weights), encoders.speech_encoder


def make_pipeline(
    transformer: InfiniteTalkTransformer3DModel, encoders: Encoders, weights: Path
) -> InfiniteTalkPipeline:
    """weights: the folder that the networks were loaded from."""
    return InfiniteTalkPipeline(
        transformer=transformer,
        vae=encoders.vae,
        image_encoder=encoders.image_encoder,
        text_encoder=encoders.text_encoder,
        buckets=sizes_of(weights).buckets,
    )


def sized(settings: Settings, weights: Path) -> Settings:
    """The settings with the chunk length of the checkpoint."""
    sizes = sizes_of(weights)
    return dataclasses.replace(
        settings, num_frames_per_chunk=sizes.num_frames_per_chunk, motion_frames=sizes.motion_frames
    )


def sizes_of(weights: Path) -> Sizes:
    """The published sizes, unless the base's config.json names others. Raises InvalidCheckpoint."""
    config = weights / hub.BASE / "config.json"
    # A merged file needs no config.json.
    return Sizes.of_checkpoint(read_json(config)) if config.is_file() else PUBLISHED_SIZES
