"""Warnings about requests that can be rendered, but not well, or of which a part has no effect."""

from render.parameters import Parameters
from render.sources import SourceWarning

LONG_SECONDS = 60.0  # From one image, colors and background drift visibly after about a minute (InfiniteTalk's README).
MISSED_SECONDS = 0.1  # of a voice: shorter ends that are not heard get no warning
NO_GUIDANCE = 1.0  # the scale without guidance, with which distilled models were trained


def of_parameters(parameters: Parameters) -> list[SourceWarning]:
    """Guidance that does not fit the LoRA: distilled for few steps, it already contains the guidance."""
    warnings = []
    if parameters.lora_scale:
        is_fast = parameters.preset == "fast"
        scales = {"sample_text_guide_scale": parameters.sample_text_guide_scale}
        if is_fast:
            scales["sample_audio_guide_scale"] = parameters.sample_audio_guide_scale
        for name, scale in scales.items():
            if scale > NO_GUIDANCE:
                which = "The preset fast" if is_fast else "The model with its LoRA (lora_scale above 0)"
                detail = (
                    f"{which} is distilled, with guidance built in: {name} {scale:g} doubles the time and often "
                    "oversaturates the colors. Use 1, or the preset quality."
                )
                warnings.append(_warning(f"parameters.{name}", "guidance_with_distilled", detail))
    return warnings


def of_source(parameters: Parameters, *, is_video: bool, seconds: float | None) -> list[SourceWarning]:
    """A long video of one image, and dubbing parameters without a video.

    seconds: length of the finished video; None if it is not known yet.
    """
    if is_video:
        return []
    warnings = []
    if seconds is not None and seconds > LONG_SECONDS:
        detail = (
            f"A final video of {seconds:.0f} s from one image: after about {LONG_SECONDS:.0f} s its colors drift. "
            "Give a video of the person as image_url, or make shorter videos."
        )
        warnings.append(_warning("image_url", "long_from_one_picture", detail))
    for name, has_effect in (("video_end", parameters.video_end != "bounce"), ("length", parameters.length == "video")):
        if has_effect:
            detail = "It was not used: image_url is an image, not a video."
            warnings.append(_warning(f"parameters.{name}", "unused", detail))
    return warnings


def of_length(*, voice_seconds: float, video_seconds: float) -> list[SourceWarning]:
    """For a render that is as long as its source video."""
    unheard = voice_seconds - video_seconds
    if unheard < MISSED_SECONDS:
        return []
    detail = (
        f"The last {unheard:.1f} s of the voice are not heard: it lasts {voice_seconds:.1f} s, and the video, with "
        f"length: video, {video_seconds:.1f} s. Leave out `length`, or send a longer video."
    )
    return [_warning("parameters.length", "voice_cut", detail)]


def _warning(param: str, code: str, detail: str) -> SourceWarning:
    return SourceWarning(param=param, code=code, detail=detail)
