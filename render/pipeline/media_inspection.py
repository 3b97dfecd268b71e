"""The inspection of a customer's file: its kind and its facts, which the API shows before the file is used."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from render.engines.base import FPS
from render.frame.found_faces import VIDEO_FRAMES, find_faces
from render.frame.shot import Source
from render.media.isolation import calls as isolated
from render.media.isolation.calls import Check
from render.media.probe import AudioFacts, ImageFacts, VideoFacts

PARAM = "file"


def inspect(path: Path, folder: Path, *, max_audio_seconds: float, check: Check) -> tuple[str, dict[str, Any]]:
    """Return the kind of the file, `image`, `video` or `audio`, and its facts, which JSON can express.

    Sound is decoded to its end, so its length is exact. A video is expensive to decode, so its packets are counted, and
    only the first frames are decoded, for their faces; its length is the container's. A file that a render would refuse
    as damaged is refused here, too; the warning of a small damage comes with the render. The faces are as
    `render.frame.shot.Source.as_facts` makes them.

    folder: for files that are made on the way. check: called often; an exception from it ends the inspection. Raises
    ServiceError with the parameter `PARAM`, and OSError when the disk cannot be written to.
    """
    facts = isolated.probe(path, param=PARAM, check=check)
    match facts:
        case ImageFacts():
            portrait = isolated.normalise_portrait(path, folder / "portrait.png", param=PARAM, check=check)
            source = find_faces(portrait.path, is_video=False)
            return "image", {"format": facts.format, **_upright(facts, source), **source.as_facts()}
        case AudioFacts():
            wav = folder / "voice.wav"
            voice = isolated.normalise_voice(path, wav, max_seconds=max_audio_seconds, param=PARAM, check=check)
            return "audio", {**asdict(facts), "duration_seconds": round(voice.duration_seconds, 3)}
        case VideoFacts():
            isolated.check_video(path, param=PARAM, check=check)
            first = folder / "first_frames.mp4"
            isolated.normalise_video(path, first, max_seconds=VIDEO_FRAMES / FPS, param=PARAM, check=check)
            source = find_faces(first, is_video=True)
            return "video", {**asdict(facts), **_upright(facts, source), **source.as_facts()}
    isolated.refuse(path, param=PARAM, check=check)


def _upright(facts: ImageFacts | VideoFacts, source: Source) -> dict[str, int]:
    """The size in pixels as it is shown: a file may be stored on its side."""
    height, width = source.size
    is_turned = facts.width != facts.height and (facts.width > facts.height) != (width > height)
    return (
        {"width": facts.height, "height": facts.width} if is_turned else {"width": facts.width, "height": facts.height}
    )
