"""What a customer's file is, read to its end: the facts that are shown before it is used in a film."""

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
    """Return its kind, `image`, `video` or `audio`, and facts of it that JSON can hold.

    A voice is decoded to its end, so its length is exact. Of a film, which is dear to decode, only the packets are
    counted, and the length is what its container says. A file that a render would refuse as damaged is refused here;
    the warning of a little damage comes with the render. The face boxes are shares of the upright picture's width and
    height, the widest first. Raises ServiceError with `PARAM`, OSError when the disk does not take what is written, and
    whatever `check` raises, which is called all the time.
    """
    facts = isolated.probe(path, param=PARAM, check=check)
    match facts:
        case ImageFacts():
            portrait = isolated.normalise_portrait(path, folder / "portrait.png", param=PARAM, check=check)
            with Image.open(portrait.path) as picture:
                faces = FaceFinder().find(np.asarray(picture))
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
