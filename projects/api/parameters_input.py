"""What the `parameters` of `POST /projects` accept, and which of them have no effect."""

import re
from typing import Any

from django.conf import settings
from rest_framework import serializers

from accounts.api.fields import ChoiceField
from projects.assets.source_urls import ASSET, REFERENCE
from render.engines.base import FPS
from render.frame.size import ASPECT_RATIOS
from render.parameters import MAX_SEED, PRESETS, UPSCALES, VIDEO_ENDS

MAX_FRAMES = 3600 * FPS + 1  # An hour.
MAX_SCALE = 100.0  # Of guidance and shift; above about 20 there is only noise.
COLOR = r"^#[0-9a-fA-F]{6}$"
BACKGROUNDS = ("keep", "blur", "transparent")


class ColorField(serializers.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(COLOR, error_messages={"invalid": "Must be a color as #rrggbb, such as #00b140."}, **kwargs)


class BackgroundField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        background: str = super().to_internal_value(data)
        is_asset = REFERENCE.fullmatch(background) and background.lower().startswith(ASSET)
        if background not in BACKGROUNDS and not re.fullmatch(COLOR, background) and not is_asset:
            choices = ", ".join(BACKGROUNDS)
            detail = f"{background[:40]!r} is not a background. Give one of {choices}, a color as #rrggbb, or asset:ID."
            raise serializers.ValidationError(detail, code="invalid")
        return background


class ParametersRequest(serializers.Serializer[Any]):
    """How to render. A parameter that is missing or null gets the preset's value, or else the default."""

    engine = serializers.CharField(
        required=False, allow_null=True, max_length=40, help_text="`draft` or `infinitetalk`, if installed here."
    )
    preset = ChoiceField(
        choices=list(PRESETS),
        required=False,
        allow_null=True,
        help_text="Sets several parameters at once; an explicit value wins.",
    )
    resolution = ChoiceField(choices=settings.RESOLUTIONS, required=False, allow_null=True, help_text="Default: 480p.")
    sample_steps = serializers.IntegerField(
        min_value=1, max_value=50, required=False, allow_null=True, help_text="Sampling steps. Default: 8."
    )
    sample_shift = serializers.FloatField(
        max_value=MAX_SCALE,
        required=False,
        allow_null=True,
        help_text="Flow shift of the schedule, above 0. Default: 3.0.",
    )
    sample_text_guide_scale = serializers.FloatField(
        min_value=0, max_value=MAX_SCALE, required=False, allow_null=True, help_text="Text guidance. Default: 1.0."
    )
    sample_audio_guide_scale = serializers.FloatField(
        min_value=0,
        max_value=MAX_SCALE,
        required=False,
        allow_null=True,
        help_text="Audio guidance; higher follows the voice more closely. Default: 6.0.",
    )
    lora_scale = serializers.FloatField(
        min_value=0, max_value=2, required=False, allow_null=True, help_text="Strength of the LoRA. Default: 1.0."
    )
    color_correction_strength = serializers.FloatField(
        min_value=0,
        max_value=1,
        required=False,
        allow_null=True,
        help_text="Match of each chunk's colors to the portrait. Default: 0.2.",
    )
    seed = serializers.IntegerField(
        min_value=0, max_value=MAX_SEED, required=False, allow_null=True, help_text="Default: drawn, and echoed."
    )
    frame_num = serializers.IntegerField(
        min_value=1,
        max_value=MAX_FRAMES,
        required=False,
        allow_null=True,
        help_text="Forced number of frames, 4n+1. Default: as `length` says.",
    )
    aspect_ratio = ChoiceField(
        choices=ASPECT_RATIOS,
        required=False,
        allow_null=True,
        help_text="Shape of the video, width to height. Default: `source`, as the image is, up to 3:1.",
    )
    fit = ChoiceField(
        choices=["crop", "pad"],
        required=False,
        allow_null=True,
        help_text="For an image of another shape: `crop` (the default) cuts off what does not fit and keeps the faces; "
        "`pad` shows all of it, between blurred edges or a `pad_color`.",
    )
    pad_color = ColorField(
        required=False, allow_null=True, help_text="With `pad`: the color beside the image, #rrggbb."
    )
    background = BackgroundField(
        required=False,
        allow_null=True,
        help_text="What is behind the person: `keep` (the default), `blur`, a color as #rrggbb, `asset:ID` of an "
        "image, or `transparent`: the mp4 keeps it, and `video_alpha_url` is a WebM without it.",
    )
    background_blur = serializers.FloatField(
        min_value=0, max_value=1, required=False, allow_null=True, help_text="Strength of the blur. Default: 0.5."
    )
    video_end = ChoiceField(
        choices=list(VIDEO_ENDS),
        required=False,
        allow_null=True,
        help_text="Of a video that is shorter than the voice: it goes back and forth (`bounce`, the default), begins "
        "again (`loop`), or stops at its last frame (`hold`).",
    )
    length = ChoiceField(
        choices=["voice", "video"],
        required=False,
        allow_null=True,
        help_text="What a dubbed video is as long as. Default: the voice.",
    )
    upscale = ChoiceField(
        choices=list(UPSCALES),
        required=False,
        allow_null=True,
        help_text="Enlarges the finished frames: their shorter side gets 720 or 1080 pixels. Default: none.",
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("frame_num") is not None and values.get("length") == "video":
            raise serializers.ValidationError(
                {"length": ["Give frame_num or length: video, not both."]}, code="invalid"
            )
        return values

    def validate_sample_shift(self, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise serializers.ValidationError("Ensure this value is greater than 0.", code="min_value")
        return value

    def validate_frame_num(self, value: int | None) -> int | None:
        if value is not None and value % 4 != 1:
            raise serializers.ValidationError("Must be 4n+1: 1, 5, 9, ...", code="invalid")
        return value


def unused_parameters(parameters: dict[str, Any]) -> list[dict[str, str]]:
    """Warnings about parameters that have no effect because of others."""
    reasons = {}
    if "pad_color" in parameters and parameters.get("fit") != "pad":
        reasons["pad_color"] = "It was not used: only fit: pad shows anything beside the image."
    if "background_blur" in parameters and parameters.get("background") != "blur":
        reasons["background_blur"] = "It was not used: only background: blur blurs anything."
    return [{"param": f"parameters.{name}", "code": "unused", "detail": reason} for name, reason in reasons.items()]
