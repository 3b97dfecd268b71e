"""The parameters of a render: names, defaults and presets, as the API documents them.

This is the service's only definition of the presets: engines get resolved parameters. `infinitetalk.presets` has those
of the model's command line, which knows nothing of the service.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from accounts.errors import ServiceError
from infinitetalk.presets import COLOR_CORRECTION_STRENGTH, WITHOUT_PRESET, Preset
from infinitetalk.presets import PRESETS as MODEL_PRESETS
from infinitetalk.video_end import VIDEO_ENDS as VIDEO_ENDS  # `projects` may not import it from there.

MAX_SEED = 2**32 - 1
TRANSPARENT = "transparent"  # as `background`: beside the video there is one of the person alone
MAX_CUT_OUT_SECONDS = 300  # of video in which a person is cut out frame by frame: a CPU takes 0.1 to 0.3 s a frame
UPSCALES = {"none": None, "720p": 720, "1080p": 1080}  # pixels of the shorter side


def _parameters_of(preset: Preset) -> dict[str, int | float]:
    return {
        "sample_steps": preset.num_inference_steps,
        "sample_text_guide_scale": preset.text_guidance_scale,
        "sample_audio_guide_scale": preset.audio_guidance_scale,
        "sample_shift": preset.flow_shift,
        "lora_scale": 0.0 if preset.lora is None else 1.0,
    }


PRESETS = {name: _parameters_of(preset) for name, preset in MODEL_PRESETS.items()}


@dataclass(frozen=True)
class Parameters:
    seed: int
    resolution: str = "480p"
    preset: str | None = None
    sample_steps: int = WITHOUT_PRESET.num_inference_steps
    sample_shift: float = WITHOUT_PRESET.flow_shift
    sample_text_guide_scale: float = WITHOUT_PRESET.text_guidance_scale
    sample_audio_guide_scale: float = WITHOUT_PRESET.audio_guidance_scale
    lora_scale: float = 1.0
    color_correction_strength: float = COLOR_CORRECTION_STRENGTH
    frame_num: int | None = None  # length of the video in frames; None: as `length` says
    aspect_ratio: str = "source"  # of `render.frame.size.ASPECT_RATIOS`
    fit: str = "crop"  # or `pad`
    pad_color: str | None = None  # #rrggbb; None: the blurred source
    background: str = "keep"  # or `blur`, `transparent`, #rrggbb, or the stored file of an image
    background_blur: float = 0.5  # from 0 to 1
    video_end: str = "bounce"  # one of VIDEO_ENDS: where a source video is shorter than the voice
    length: str = "voice"  # or `video`: what the video is as long as
    upscale: str = "none"  # a key of UPSCALES

    @classmethod
    def resolve(cls, requested: dict[str, Any]) -> "Parameters":
        """The requested values; for what is missing or None the preset's, else the defaults. Ignores unknown names."""
        known = {field.name for field in fields(cls)}
        explicit = {name: value for name, value in requested.items() if name in known and value is not None}
        name, preset = explicit.get("preset", ""), {}
        if name in PRESETS:
            shift = MODEL_PRESETS[name].shift(explicit.get("resolution", cls.resolution))
            preset = {**PRESETS[name], "sample_shift": shift}
        return cls(**{**preset, **explicit})

    def require_short(self, *, is_video: bool, seconds: float) -> None:
        """Raise ServiceError `video_too_long` if a person would be cut out of too many frames.

        is_video: whether the source is one; of an image, the background is replaced once. seconds: of the result.
        """
        by_frame = self.background == TRANSPARENT or (is_video and self.background != "keep")
        if by_frame and seconds > MAX_CUT_OUT_SECONDS:
            detail = (
                f"With this background the person is cut out of each frame, of {MAX_CUT_OUT_SECONDS} s of video at "
                f"most; this one lasts {seconds:.0f} s."
            )
            raise ServiceError("video_too_long", detail, param="parameters.background")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
