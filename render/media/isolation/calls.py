"""The steps that read a customer's own bytes, each in a process with limits, see `render.media.isolation.client`.

What they write is ours: PNG, WAV, FLAC and mp4, which anything may read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from render.media.audio.voice import Voice
from render.media.image.portrait import Portrait
from render.media.isolation.client import decode
from render.media.isolation.process_limits import Limits
from render.media.probe import AudioFacts, ImageFacts, VideoFacts
from render.media.video.source_video import SourceVideo

Check = Callable[[], None]

# CPU time: five to ten times what ordinary files took on a server's core, of 2.5 GHz in 2026. Headers take 0.1 s, a
# picture of 48 megapixels 5 s, a second of voice 12 ms, a second of film 1.4 s (1080p) to 4.3 s (4K HDR at 60 frames).
PROBE = Limits(cpu_seconds=20, file_bytes=0)
PICTURE = Limits(cpu_seconds=30, file_bytes=32 * 2**20)  # a PNG of 2048 x 2048, not compressed, has 12 MiB
VOICE_SECONDS, VOICE_BYTES = 0.06, 48_000 * 2 * 2  # for each second: of CPU; of a WAV as large as the FLAC may be
FILM_SECONDS, FILM_BYTES = 20, 8 * 2**20  # for each second: of CPU; 64 Mbit
BASE_SECONDS, BASE_BYTES = 20, 2**20


def probe(source: Path, *, param: str, check: Check) -> ImageFacts | VideoFacts | AudioFacts | None:
    found: ImageFacts | VideoFacts | AudioFacts | None
    found = decode("probe", {"source": source}, limits=PROBE, param=param, check=check)
    return found


def refuse(source: Path, *, param: str, check: Check) -> NoReturn:
    """Raises ServiceError media_invalid for a file that is no picture, film or sound: it says what it is."""
    decode("refuse", {"source": source}, limits=PROBE, param=param, check=check)
    raise AssertionError("this job has no answer")


def normalise_portrait(source: Path, destination_png: Path, *, param: str, check: Check) -> Portrait:
    arguments = {"source": source, "destination_png": destination_png}
    portrait: Portrait = decode("normalise_portrait", arguments, limits=PICTURE, param=param, check=check)
    return portrait


def normalise_voice(
    source: Path,
    destination_wav: Path,
    *,
    max_seconds: float,
    param: str,
    check: Check,
    sound_flac: Path | None = None,
) -> Voice:
    arguments = {
        "source": source,
        "destination_wav": destination_wav,
        "max_seconds": max_seconds,
        "sound_flac": sound_flac,
    }
    limits = _for_seconds(max_seconds, VOICE_SECONDS, VOICE_BYTES)
    voice: Voice = decode("normalise_voice", arguments, limits=limits, param=param, check=check)
    return voice


def normalise_video(
    source: Path, destination_mp4: Path, *, max_seconds: float, param: str, check: Check
) -> SourceVideo:
    arguments = {"source": source, "destination_mp4": destination_mp4, "max_seconds": max_seconds}
    limits = _for_seconds(max_seconds, FILM_SECONDS, FILM_BYTES)
    video: SourceVideo = decode("normalise_video", arguments, limits=limits, param=param, check=check)
    return video


def check_film(source: Path, *, param: str, check: Check) -> None:
    decode("check_film", {"source": source}, limits=PROBE, param=param, check=check)


def _for_seconds(seconds: float, cpu_seconds: float, num_bytes: int) -> Limits:
    return Limits(
        cpu_seconds=BASE_SECONDS + round(seconds * cpu_seconds), file_bytes=BASE_BYTES + round(seconds * num_bytes)
    )
