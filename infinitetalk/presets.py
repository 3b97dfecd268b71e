"""Presets, and the defaults without one. Plain numbers, without torch.

`render` imports this module: a named exception of the import law, so that the API's presets are the model's. It must
not import torch, nor anything that does. Every process of the service loads it, so it does not import NumPy either.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Settings that belong together. The LoRA files are in `infinitetalk.checkpoints.hub.PRESET_LORAS`."""

    num_inference_steps: int
    flow_shift: float
    audio_guidance_scale: float  # 1: no guidance by the voice, and no pass of the transformer for it
    text_guidance_scale: float = 1.0  # 1: no guidance by the prompt, and no pass of the transformer for it
    flow_shift_720p: float | None = None  # None: the same as `flow_shift`
    lora: str | None = "standard"
    projected_guidance: bool = True
    teacache_threshold: float | None = None

    def shift(self, resolution: str) -> float:
        """The flow shift for a resolution, 480p or 720p."""
        if resolution == "720p" and self.flow_shift_720p is not None:
            return self.flow_shift_720p
        return self.flow_shift


WITHOUT_PRESET = Preset(num_inference_steps=8, flow_shift=3.0, audio_guidance_scale=6.0)
COLOR_CORRECTION_STRENGTH = 0.2  # of every preset: 0 leaves the colors, 1 corrects them fully

PRESETS = {
    # lightx2v distillation: four steps, no guidance pass.
    "fast": Preset(
        num_inference_steps=4, flow_shift=2.0, audio_guidance_scale=1.0, lora="fast", projected_guidance=False
    ),
    # FusioniX with the model authors' own LoRA settings.
    "standard": Preset(num_inference_steps=8, flow_shift=2.0, audio_guidance_scale=2.0),
    # The plain model. With more pixels, more of the schedule must be at high noise: hence the larger shift for 720p.
    "quality": Preset(
        num_inference_steps=40,
        flow_shift=7.0,
        flow_shift_720p=11.0,
        text_guidance_scale=5.0,
        audio_guidance_scale=4.0,
        lora=None,
        teacache_threshold=0.2,
    ),
}
