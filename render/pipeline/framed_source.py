"""The source as the frames show it: its faces are found, its shot is planned, and what surrounds the person is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.engines.base import Engine
from render.frame.background.composed_files import compose_portrait, compose_video
from render.frame.background.composition import Composition
from render.frame.found_faces import find_faces
from render.frame.shot import Shot, plan_shot
from render.media.isolation.calls import Check
from render.parameters import TRANSPARENT, Parameters
from render.sources import SourceWarning

KEPT = ("keep", TRANSPARENT)  # backgrounds that the source keeps; the transparent video is made from the finished one


@dataclass(frozen=True)
class FramedSource:
    path: Path  # an image (PNG) or a video (mp4), as the source is
    shot: Shot
    warnings: list[SourceWarning]


def prepare_frames(
    path: Path,
    *,
    is_video: bool,
    parameters: Parameters,
    speakers: Sequence[Mapping[str, Any]],
    num_voices: int,
    engine: Engine,
    background_image: Path | None,
    check: Check,
    moved_on: Callable[[], None],
) -> FramedSource:
    """path: of a normalised image or video; it is deleted if another file is made from it. speakers: as requested.
    background_image: what is shown behind the person, if that is an image.

    Raises ServiceError as `plan_shot`, and what `check` raises.
    """
    # A chosen face means the same as in the list that the API shows of an asset: of the first frame with any.
    source = find_faces(path, is_video=is_video, count=1 if speakers else num_voices)
    moved_on()
    pixels = engine.pixels(parameters.resolution)
    shot = plan_shot(source, parameters, speakers, num_voices=num_voices, pixels=pixels)
    warnings = list(shot.warnings)
    if parameters.background in KEPT and not shot.framing.is_padded:
        return FramedSource(path, shot, warnings)
    composition = Composition(
        size=shot.size,
        crop=shot.crop,
        fit="pad" if shot.framing.is_padded else "crop",
        pad_color=parameters.pad_color,
        background=background_image or ("keep" if parameters.background in KEPT else parameters.background),
        blur=parameters.background_blur,
    )
    composed = path.with_name(f"framed{path.suffix}")
    if is_video:
        is_cut_out = compose_video(path, composed, composition, check=check, moved_on=moved_on)
    else:
        is_cut_out = compose_portrait(path, composed, composition)
    path.unlink()
    if not is_cut_out and parameters.background not in KEPT:
        warnings.append(no_person("the background was kept"))
    return FramedSource(composed, shot.composed(at_bottom=composition.lies_at_bottom(is_cut_out=is_cut_out)), warnings)


def no_person(outcome: str) -> SourceWarning:
    return SourceWarning(param="parameters.background", code="no_person", detail=f"No person was found, so {outcome}.")
