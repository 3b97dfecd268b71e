"""Memory plans: on which device the networks lie during a render, chosen by the memory of the GPU.

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

BLOCKS_IN_FLIGHT = 2  # on the GPU at once when streamed: the one that computes and the one that is copied
USABLE = 0.95  # share of a GPU's memory; the CUDA context and fragmentation take the rest
PIXELS_480P = 448 * 896
# Bytes beside the weights, at PIXELS_480P and 81 frames; proportional to the pixels. The decoder, which runs when the
# transformer is idle, takes more: ComfyUI counts 7,000 values of 2 bytes a pixel for it.
TRANSFORMER_ACTIVATIONS = 3e9
DECODER_ACTIVATIONS = 7_000 * 2 * PIXELS_480P


@dataclass(frozen=True)
class MemoryPlan:
    name: str
    fp8: bool
    streamed: bool
    fallback: str | None  # the plan that needs less memory and computes the same

    @property
    def text_on_cpu(self) -> bool:
        """Whether the text encoder lies on the CPU: the second largest network, needed once for each new prompt."""
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
# Fastest first: 8 bits on the GPU are faster than streamed bfloat16.
PREFERRED = ("resident", "fp8", "streamed", "fp8-streamed")


def choose_plan(total_bytes: int, pixels: int = PIXELS_480P) -> MemoryPlan:
    """The first plan of PREFERRED that fits into total_bytes of GPU memory. Raises InvalidInput `gpu_too_small`."""
    for name in PREFERRED:
        if peak_bytes(PLANS[name], pixels) <= USABLE * total_bytes:
            return PLANS[name]
    smallest = peak_bytes(PLANS[PREFERRED[-1]], pixels)
    raise InvalidInput(
        "gpu_too_small", f"{total_bytes / 1e9:.0f} GB of GPU memory; {smallest / 1e9:.0f} GB are needed."
    )


def peak_bytes(plan: MemoryPlan, pixels: int = PIXELS_480P) -> int:
    """Highest GPU memory of a render with the published networks: counted weights and estimated activations."""
    activations = max(TRANSFORMER_ACTIVATIONS, DECODER_ACTIVATIONS) * pixels / PIXELS_480P
    return round(weight_bytes(plan) + activations)


@cache
def weight_bytes(plan: MemoryPlan) -> int:
    """Bytes of the published networks' weights on the GPU at one time, counted from modules on the meta device."""
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
