"""The inspection of a customer's file: its kind and its facts, which the API shows before the file is used."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from render.engines.faces import Face, FaceFinder
from render.media.isolation import calls as isolated
from render.media.isolation.calls import Check
from render.media.probe import AudioFacts, ImageFacts, VideoFacts

PARAM = "file"


def inspect(path: Path, folder: Path, *, max_audio_seconds: float, check: Check) -> tuple[str, dict[str, Any]]:
    """Return the kind of the file, `image`, `video` or `audio`, and its facts, which JSON can express.

    Sound is decoded to its end, so its length is exact. A video is expensive to decode, so only its packets are
    counted, and its length is the container's. A file that a render would refuse as damaged is refused here, too; the
    warning of a small damage comes with the render. The boxes of the faces are shares of the upright image's width and
    height, the widest face first.

    folder: for files that are made on the way. check: called often; an exception from it ends the inspection. Raises
    ServiceError with the parameter `PARAM`, and OSError when the disk cannot be written to.
    """
    facts = isolated.probe(path, param=PARAM, check=check)
    match facts:
        case ImageFacts():
            portrait = isolated.normalise_portrait(path, folder / "portrait.png", param=PARAM, check=check)
            with Image.open(portrait.path) as image:
                faces = FaceFinder().find(np.asarray(image))
            boxes = [_box(face, portrait.width, portrait.height) for face in faces]
            return "image", {"format": facts.format, "width": facts.width, "height": facts.height, "faces": boxes}
        case AudioFacts():
            wav = folder / "voice.wav"
            voice = isolated.normalise_voice(path, wav, max_seconds=max_audio_seconds, param=PARAM, check=check)
            return "audio", {**asdict(facts), "duration_seconds": round(voice.duration_seconds, 3)}
        case VideoFacts():
            isolated.check_video(path, param=PARAM, check=check)
            return "video", asdict(facts)
    isolated.refuse(path, param=PARAM, check=check)


def _box(face: Face, width: int, height: int) -> dict[str, float]:
    left, top = face.points.min(axis=0)
    right, bottom = face.points.max(axis=0)
    return {
        "x": round(float(left) / width, 4),
        "y": round(float(top) / height, 4),
        "width": round(float(right - left) / width, 4),
        "height": round(float(bottom - top) / height, 4),
    }
