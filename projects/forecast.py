"""What is known of a video before it is rendered: its size, what is cut off, and what will not look well."""

from dataclasses import dataclass, replace
from typing import Any

from projects.assets.references import Sources
from projects.models import Asset, Project
from render import advice
from render.engines import registry
from render.engines.base import FPS
from render.frame.shot import Source, plan_shot, require_usable_faces
from render.frame.size import upscaled_size, usual_pixels
from render.parameters import Parameters


@dataclass(frozen=True)
class Forecast:
    frame: dict[str, Any] | None  # as `Shot.as_frame` makes it; None while the image is not known
    parameters: Parameters  # as given, but without an `upscale` and a `length` that would change nothing


def foresee(project: Project, sources: Sources, parameters: Parameters, engine: str) -> Forecast:
    """What is known of the project's video; its warnings are added to the project's.

    The step `prepare` decides the same again, for every source. Raises ServiceError `engine_unavailable`,
    `background_unavailable`, `video_too_long`, and for an image that cannot be used `no_face`, `no_face_in_box`,
    `face_cropped` or `speakers_overlap`.
    """
    registry.require(engine)
    registry.require_background(engine, parameters.background)
    project.warnings += advice.of_parameters(parameters)
    asset = sources.image_asset
    is_video = asset is not None and asset.kind == Asset.Kind.VIDEO
    seconds = parameters.frame_num / FPS if parameters.frame_num else sources.seconds
    if asset is not None:
        project.warnings += advice.of_source(parameters, is_video=is_video, seconds=seconds)
        if not is_video:
            parameters = replace(parameters, length="voice")
    if seconds is not None and parameters.length == "voice":
        parameters.require_short(is_video=is_video, seconds=seconds)
    if asset is None:
        return Forecast(None, parameters)
    source = Source.from_facts(asset.facts)
    if source is None:
        return Forecast(None, parameters)
    num_voices = 2 if project.audio_url_2 else 1
    pixels = usual_pixels(parameters.resolution)
    shot = plan_shot(source, parameters, project.speakers, num_voices=num_voices, pixels=pixels)
    if registry.needs_face(engine) and not is_video:  # Of a video, only its beginning has been searched.
        require_usable_faces(source, shot, num_voices=num_voices)
    project.warnings += shot.warnings
    if is_video and parameters.length == "video" and sources.seconds and asset.facts.get("duration_seconds"):
        video_seconds = asset.facts["duration_seconds"]
        project.warnings += advice.of_length(voice_seconds=sources.seconds, video_seconds=video_seconds)
    frame = shot.as_frame(shot.size, parameters)
    if upscaled_size(shot.size, parameters) == shot.size:
        parameters = replace(parameters, upscale="none")
    return Forecast(frame, parameters)
