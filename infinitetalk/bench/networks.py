"""The networks that are timed: with random weights, in the published or tiny sizes, or loaded from files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKLWan
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.acceleration.compile import put_channels_last, stream_blocks
from infinitetalk.acceleration.fp8 import SCALE, is_large_linear, to_float8
from infinitetalk.acceleration.memory_plan import MemoryPlan
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.files import load_strictly
from infinitetalk.checkpoints.load_encoders import Encoders, load_encoders
from infinitetalk.checkpoints.load_transformer import empty_transformer
from infinitetalk.checkpoints.pipeline_from_files import sized
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.conditioning.text_encoder import PromptEncoder
from infinitetalk.model.configs import (
    TINY_IMAGE,
    TINY_SHARED,
    TINY_SIZES,
    TINY_SPEECH,
    TINY_TEXT,
    TINY_TRANSFORMER,
    TINY_VAE,
    clip_config,
    transformer_config,
    umt5_config,
    vae_config,
)
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.sampling.settings import Settings
from infinitetalk.server.variants import Variant, VariantLoader

DEVIATION = 0.02  # usual for initial weights; with zeros a GPU draws less power and runs faster
SEED = 0


class Networks(Protocol):
    name: str
    settings: Settings

    def transformer(self, plan: MemoryPlan) -> InfiniteTalkTransformer3DModel:
        """The transformer on the device that the plan names; the same weights in every call."""

    def encoders(self, plan: MemoryPlan) -> Encoders: ...


@dataclass(frozen=True)
class Shape:
    transformer: dict[str, Any]
    text: dict[str, Any]
    image: dict[str, Any]
    vae: dict[str, Any]
    speech: dict[str, Any]
    settings: Settings


SHAPES = {
    "full": Shape(transformer_config({}), umt5_config({}), clip_config({}), vae_config({}), {}, Settings()),
    "tiny": Shape(
        transformer_config(
            {
                **TINY_TRANSFORMER,
                **TINY_SHARED,
            }
        ),
        umt5_config(TINY_TEXT),
        clip_config(TINY_IMAGE),
        vae_config(TINY_VAE),
        TINY_SPEECH,
        Settings(
            num_frames_per_chunk=TINY_SIZES["num_frames_per_chunk"],
            motion_frames=TINY_SIZES["motion_frames"],
        ),
    ),
}


class RandomNetworks:
    def __init__(self, shape: str, dtype: torch.dtype, device: torch.device) -> None:
        self.name = f"random, {shape}"
        self._shape = SHAPES[shape]
        self.settings = self._shape.settings
        self._dtype = dtype
        self._device = device

    def transformer(self, plan: MemoryPlan) -> InfiniteTalkTransformer3DModel:
        with torch.device("meta"):
            shapes = InfiniteTalkTransformer3DModel(**self._shape.transformer).state_dict()
        place = torch.device("cpu") if plan.streamed else self._device
        generator = torch.Generator(self._device).manual_seed(SEED)
        tensors: dict[str, torch.Tensor] = {}
        for key, empty in shapes.items():
            value = _random(key, empty.shape, generator, self._dtype)
            if plan.fp8 and is_large_linear(key, value):
                value, scale, _ = to_float8(value)
                tensors[f"{key.removesuffix('weight')}{SCALE}"] = scale.to(place)
            tensors[key] = value.to(place)
        model = empty_transformer(self._shape.transformer, tensors)
        load_strictly(model, tensors, self.name)
        if plan.streamed:
            stream_blocks(model, self._device)
        return model.eval()

    def encoders(self, plan: MemoryPlan) -> Encoders:
        device, shape = self._device, self._shape
        on_gpu = device.type == "cuda"
        with torch.device("meta"):
            vae = AutoencoderKLWan(**shape.vae)
            text = UMT5EncoderModel(UMT5Config(**shape.text))
        vae = self._filled(vae, torch.bfloat16 if on_gpu else torch.float32)
        if on_gpu:
            put_channels_last(vae)
        image = CLIPVisionModel(CLIPVisionConfig(**shape.image))
        self._filled(image, torch.float16 if on_gpu else torch.float32)
        speech = self._filled(Wav2Vec2Model(Wav2Vec2Config(**shape.speech)), torch.float32)
        text = self._filled(text, self._dtype)
        text.tie_weights()  # `to_empty` gave the tied weights separate memory.
        if plan.text_on_cpu:
            text.to("cpu")
        return Encoders(
            vae, image, PromptEncoder(text, _WordTokenizer()), SpeechEncoder(speech, Wav2Vec2FeatureExtractor())
        )

    def _filled(self, network: Any, dtype: torch.dtype) -> Any:
        generator = torch.Generator(self._device).manual_seed(SEED)
        if next(network.parameters()).is_meta:
            network = network.to(dtype).to_empty(device=self._device)
        else:
            network = network.to(self._device, dtype)
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                parameter.copy_(_random(key, parameter.shape, generator, dtype))
        return network.eval()


class FileNetworks:
    def __init__(
        self, weights: Path, merged: Sequence[Path], variant: Variant, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.name = variant.lora or "no LoRA"
        self.settings = sized(Settings(), weights)
        self._weights = weights
        self._loader = VariantLoader(weights, merged, dtype, device)
        self._variant = variant
        self._dtype = dtype
        self._device = device

    def transformer(self, plan: MemoryPlan) -> InfiniteTalkTransformer3DModel:
        return self._loader.load(self._variant, plan)

    def bytes_to_load(self, plan: MemoryPlan) -> int:
        base = self._weights / hub.BASE
        encoders = [base / name for name in (hub.TEXT_ENCODER, hub.IMAGE_ENCODER, hub.VAE)]
        files = [
            *self._loader.files(self._variant, plan),
            *encoders,
            self._weights / hub.SPEECH / "model.safetensors",
        ]
        return sum(path.stat().st_size for path in files)

    def encoders(self, plan: MemoryPlan) -> Encoders:
        return load_encoders(
            self._weights,
            dtype=self._dtype,
            device=str(self._device),
            text_device="cpu" if plan.text_on_cpu else None,
            vae_dtype=torch.bfloat16 if self._device.type == "cuda" else torch.float32,
        )


class _WordTokenizer:
    """An arbitrary token for each word."""

    def __call__(self, text: str, **options: Any) -> Any:
        return SimpleNamespace(input_ids=torch.tensor([[2 + len(word) for word in text.split()]]))


def _random(key: str, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    """Normal values, or ones for norms, on the generator's device."""
    if "norm" in key and key.endswith(("weight", "gamma")):
        return torch.ones(shape, device=generator.device, dtype=dtype)
    return torch.empty(shape, device=generator.device, dtype=dtype).normal_(0, DEVIATION, generator=generator)
