"""The settings of a video; the defaults are those of `infinitetalk.presets.WITHOUT_PRESET`."""

from dataclasses import dataclass, field

from infinitetalk.buckets import CHUNK_FRAMES, MOTION_FRAMES, Chunk, plan_chunks
from infinitetalk.errors import InvalidInput
from infinitetalk.presets import COLOR_CORRECTION_STRENGTH, WITHOUT_PRESET, Preset
from infinitetalk.sampling.guidance import AdaptiveProjectedGuidance
from infinitetalk.sampling.timesteps import used_timesteps


@dataclass(frozen=True)
class Settings:
    """The names are keys of the model server's protocol: an older worker sends them, so do not rename them."""

    num_inference_steps: int = WITHOUT_PRESET.num_inference_steps
    flow_shift: float = WITHOUT_PRESET.flow_shift
    keep_idle_steps: bool = False  # as the reference does: see `used_timesteps`
    text_guidance_scale: float = WITHOUT_PRESET.text_guidance_scale
    audio_guidance_scale: float = WITHOUT_PRESET.audio_guidance_scale
    projected_guidance: AdaptiveProjectedGuidance | None = field(default_factory=AdaptiveProjectedGuidance)
    color_correction_strength: float = COLOR_CORRECTION_STRENGTH
    teacache_threshold: float | None = None
    num_frames_per_chunk: int = CHUNK_FRAMES
    motion_frames: int = MOTION_FRAMES
    resolution: str = "480p"

    @property
    def steps_made(self) -> int:
        """The number of steps of a chunk. Each takes one pass of the transformer for each branch of guidance."""
        timesteps = used_timesteps(self.num_inference_steps, self.flow_shift, keep_idle_steps=self.keep_idle_steps)
        return len(timesteps) - 1

    @classmethod
    def of_preset(cls, preset: Preset, resolution: str = "480p") -> "Settings":
        return cls(
            num_inference_steps=preset.num_inference_steps,
            flow_shift=preset.shift(resolution),
            text_guidance_scale=preset.text_guidance_scale,
            audio_guidance_scale=preset.audio_guidance_scale,
            projected_guidance=AdaptiveProjectedGuidance() if preset.projected_guidance else None,
            teacache_threshold=preset.teacache_threshold,
            resolution=resolution,
        )

    def plan_chunks(self, num_frames: int) -> list[Chunk]:
        """The chunks of a video with num_frames frames."""
        return plan_chunks(num_frames, num_frames_per_chunk=self.num_frames_per_chunk, motion_frames=self.motion_frames)

    def check_frames(self) -> None:
        """Raises InvalidInput `frames_invalid`."""
        if self.num_frames_per_chunk % 4 != 1 or self.motion_frames % 4 != 1:
            raise InvalidInput("frames_invalid", "Frames of a chunk, and motion frames, must be 4n + 1.")
        if self.motion_frames >= self.num_frames_per_chunk:
            raise InvalidInput("frames_invalid", "A chunk must have more frames than its motion frames.")


DEFAULT_SETTINGS = Settings()
