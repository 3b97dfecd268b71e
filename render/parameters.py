"""The parameters of a render: names, defaults and presets, as the API documents them.

This is the service's only definition of the presets: engines get resolved parameters. `infinitetalk.presets` has those
of the model's command line, which knows nothing of the service.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

MAX_SEED = 2**32 - 1

PRESETS: dict[str, dict[str, int | float]] = {
    # lightx2v distillation: four steps, no guidance pass.
    "fast": {"sample_steps": 4, "sample_audio_guide_scale": 1.0, "sample_shift": 2.0},
    # FusioniX with the model authors' own LoRA settings.
    "standard": {"sample_steps": 8, "sample_audio_guide_scale": 2.0, "sample_shift": 2.0},
    "quality": {
        "sample_steps": 40,
        "sample_text_guide_scale": 5.0,
        "sample_audio_guide_scale": 4.0,
        "sample_shift": 7.0,
        "lora_scale": 0.0,
    },
}
QUALITY_SHIFT_720P = 11.0  # More pixels need more of the steps at high noise.


@dataclass(frozen=True)
class Parameters:
    seed: int
    resolution: str = "480p"
    preset: str | None = None
    sample_steps: int = 8
    sample_shift: float = 3.0
    sample_text_guide_scale: float = 1.0
    sample_audio_guide_scale: float = 6.0
    lora_scale: float = 1.0
    color_correction_strength: float = 0.2
    frame_num: int | None = None  # length of the video in frames; None: as long as the voice

    @classmethod
    def resolve(cls, requested: dict[str, Any]) -> "Parameters":
        """The requested values; for what is missing or None the preset's, else the defaults. Ignores unknown names."""
        known = {field.name for field in fields(cls)}
        explicit = {name: value for name, value in requested.items() if name in known and value is not None}
        preset: dict[str, Any] = dict(PRESETS.get(explicit.get("preset", ""), {}))
        if explicit.get("preset") == "quality" and explicit.get("resolution") == "720p":
            preset["sample_shift"] = QUALITY_SHIFT_720P
        return cls(**{**preset, **explicit})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
