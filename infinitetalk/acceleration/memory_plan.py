"""Where the networks lie while a video is made, chosen by the memory of the GPU.

`resident`: everything on the GPU, in bfloat16. `fp8`: the blocks' linear layers in 8 bits. `streamed` and
`fp8-streamed`: each block is copied to the GPU while the one before it computes. All but the first leave the text
encoder on the CPU.
"""

from dataclasses import dataclass
from functools import cache

import torch
from diffusers import AutoencoderKLWan
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel, Wav2Vec2Config, Wav2Vec2Model

from infinitetalk.acceleration.fp8 import is_large_linear
from infinitetalk.errors import InvalidInput
from infinitetalk.model.configs import clip_config, transformer_config, umt5_config, vae_config
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

BLOCKS_IN_FLIGHT = 2  # streamed: the one that computes and the one that is copied
USABLE = 0.95  # of a GPU's memory; the rest is the context's and lost to fragments
PIXELS_480P = 448 * 896
# Beside the weights, at PIXELS_480P and 81 frames; they grow with the pixels. The decoder runs when the transformer is
# idle, and takes more: ComfyUI counts 7,000 values of 2 bytes a pixel for it.
TRANSFORMER_ACTIVATIONS = 3e9
DECODER_ACTIVATIONS = 7_000 * 2 * PIXELS_480P


@dataclass(frozen=True)
class MemoryPlan:
    name: str
    fp8: bool
    streamed: bool
    fallback: str | None  # the plan that takes less and computes the same

    @property
    def text_on_cpu(self) -> bool:
        """It runs once for each new prompt, a second or so, and is the second largest network."""
        return self.fp8 or self.streamed


PLANS = {
    plan.name: plan
    for plan in (
        MemoryPlan("resident", fp8=False, streamed=False, fallback="streamed"),
        MemoryPlan("fp8", fp8=True, streamed=False, fallback="fp8-streamed"),
        MemoryPlan("streamed", fp8=False, streamed=True, fallback=None),
        MemoryPlan("fp8-streamed", fp8=True, streamed=True, fallback=None),
    )
}
# Faster ones first. 8 bits stay resident where bfloat16 would have to be streamed.
PREFERRED = ("resident", "fp8", "streamed", "fp8-streamed")


def choose_plan(total_bytes: int, pixels: int = PIXELS_480P) -> MemoryPlan:
    """The first of PREFERRED that fits a GPU with so much memory. Raises InvalidInput `gpu_too_small`."""
    for name in PREFERRED:
        if peak_bytes(PLANS[name], pixels) <= USABLE * total_bytes:
            return PLANS[name]
    smallest = peak_bytes(PLANS[PREFERRED[-1]], pixels)
    raise InvalidInput(
        "gpu_too_small", f"{total_bytes / 1e9:.0f} GB of GPU memory; {smallest / 1e9:.0f} GB are needed."
    )


def peak_bytes(plan: MemoryPlan, pixels: int = PIXELS_480P) -> int:
    """Most that a render takes with the published networks: their weights, counted, and the activations, estimated."""
    activations = max(TRANSFORMER_ACTIVATIONS, DECODER_ACTIVATIONS) * pixels / PIXELS_480P
    return round(weight_bytes(plan) + activations)


@cache
def weight_bytes(plan: MemoryPlan) -> int:
    """What lies on the GPU at once of the published networks' weights, counted from modules without data."""
    with torch.device("meta"):
        transformer = InfiniteTalkTransformer3DModel(**transformer_config({}))
        vae = AutoencoderKLWan(**vae_config({}))
        image_encoder = CLIPVisionModel(CLIPVisionConfig(**clip_config({})))
        text_encoder = UMT5EncoderModel(UMT5Config(**umt5_config({})))
        speech_encoder = Wav2Vec2Model(Wav2Vec2Config())
    weights = dict(transformer.named_parameters())
    total = sum(_stored_bytes(key, tensor, plan) for key, tensor in weights.items())
    if plan.streamed:
        one_block = [(key, tensor) for key, tensor in weights.items() if key.startswith("blocks.0.")]
        one_block_bytes = sum(_stored_bytes(key, tensor, plan) for key, tensor in one_block)
        total -= (len(transformer.blocks) - BLOCKS_IN_FLIGHT) * one_block_bytes
    if not plan.text_on_cpu:
        total += 2 * _count(text_encoder)
    return total + 2 * _count(vae) + 2 * _count(image_encoder) + 4 * _count(speech_encoder)


def _stored_bytes(key: str, tensor: torch.Tensor, plan: MemoryPlan) -> int:
    return tensor.numel() * (1 if plan.fp8 and is_large_linear(key, tensor) else 2)


def _count(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())
