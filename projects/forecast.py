"""What is known of a video before it is rendered: its size, what is cut off, and what will not look well."""

from dataclasses import dataclass, replace
from typing import Any

from projects.assets.references import Sources
from projects.models import Asset, Project
from render import advice
from render.engines import no_face, registry
from render.engines.base import FPS
from render.frame.shot import Source, plan_shot
from render.frame.size import upscaled_size, usual_pixels
from render.parameters import Parameters


@dataclass(frozen=True)
class Forecast:
    frame: dict[str, Any] | None  # as `Shot.as_frame` makes it; None while the image is not known
    parameters: Parameters  # as given, but upscale is none where it would change nothing


def foresee(project: Project, sources: Sources, parameters: Parameters, engine: str) -> Forecast:
    """What is known of the project's video; its warnings are added to the project's.

    The step `prepare` decides the same again, for every source. Raises ServiceError `engine_unavailable`,
    `background_unavailable`, and for an image that cannot be used `no_face`, `no_face_in_box`, `face_cropped` or
    `speakers_overlap`.
    """
    registry.require(engine)
    registry.require_background(engine, parameters.background)
    project.warnings += advice.of_parameters(parameters)
    asset = sources.image_asset
    if asset is None:
        return Forecast(None, parameters)
    is_video = asset.kind == Asset.Kind.VIDEO
    seconds = parameters.frame_num / FPS if parameters.frame_num else sources.seconds
    project.warnings += advice.of_source(parameters, is_video=is_video, seconds=seconds)
    source = Source.from_facts(asset.facts)
    if source is None:
        return Forecast(None, parameters)
    if registry.needs_face(engine) and not source.faces:
        raise no_face.cropped() if source.cut_off else no_face.none_found("video" if is_video else "image")
    num_voices = 2 if project.audio_url_2 else 1
    pixels = usual_pixels(parameters.resolution)
    shot = plan_shot(source, parameters, project.speakers, num_voices=num_voices, pixels=pixels)
    project.warnings += shot.warnings
    frame = shot.as_frame(shot.size, parameters)
    if upscaled_size(shot.size, parameters) == shot.size:
        parameters = replace(parameters, upscale="none")
    return Forecast(frame, parameters)
