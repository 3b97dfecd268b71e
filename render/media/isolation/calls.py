"""The steps that read a customer's own bytes, each in a process with limits (see `render.media.isolation.client`).

Their results are files of ours, PNG, WAV, FLAC and mp4, which any process may read.
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

Check = Callable[[], None]  # what it raises ends the step

# CPU time: five to ten times what ordinary files took on a server's core, of 2.5 GHz in 2026. Headers take 0.1 s, an
# image of 48 megapixels 5 s, a second of voice 12 ms, a second of video 1.4 s (1080p) to 4.3 s (4K HDR at 60 frames).
PROBE_LIMITS = Limits(cpu_seconds=20, file_bytes=0)
IMAGE_LIMITS = Limits(cpu_seconds=30, file_bytes=32 * 2**20)  # a PNG of 2048 x 2048, not compressed, has 12 MiB
VOICE_CPU_SECONDS, VOICE_BYTES = 0.06, 48_000 * 2 * 2  # per second of voice; bytes of a WAV as large as the FLAC may be
VIDEO_CPU_SECONDS, VIDEO_BYTES = 20, 8 * 2**20  # per second of video; 64 Mbit/s
BASE_CPU_SECONDS, BASE_BYTES = 20, 2**20  # for a file of any length


def probe(source: Path, *, param: str, check: Check) -> ImageFacts | VideoFacts | AudioFacts | None:
    """As `render.media.probe.probe`."""
    facts: ImageFacts | VideoFacts | AudioFacts | None
    facts = decode("probe", {"source": source}, limits=PROBE_LIMITS, param=param, check=check)
    return facts


def refuse(source: Path, *, param: str, check: Check) -> NoReturn:
    """Raise ServiceError media_invalid for a file that is not an image, a video or audio. It tells what the file is."""
    decode("refuse", {"source": source}, limits=PROBE_LIMITS, param=param, check=check)
    raise AssertionError("the job always raises")


def normalise_portrait(source: Path, destination_png: Path, *, param: str, check: Check) -> Portrait:
    """As `render.media.image.portrait.normalise_portrait`."""
    arguments = {"source": source, "destination_png": destination_png}
    portrait: Portrait = decode("normalise_portrait", arguments, limits=IMAGE_LIMITS, param=param, check=check)
    return portrait


def normalise_voice(
    source: Path,
    destination_wav: Path,
    *,
    max_seconds: float,
    param: str,
    check: Check,
    audio_flac: Path | None = None,
) -> Voice:
    """As `render.media.audio.voice.normalise_voice`."""
    arguments = {
        "source": source,
        "destination_wav": destination_wav,
        "max_seconds": max_seconds,
        "audio_flac": audio_flac,
    }
    limits = _limits_for(max_seconds, VOICE_CPU_SECONDS, VOICE_BYTES)
    voice: Voice = decode("normalise_voice", arguments, limits=limits, param=param, check=check)
    return voice


def normalise_video(
    source: Path, destination_mp4: Path, *, max_seconds: float, param: str, check: Check
) -> SourceVideo:
    """As `render.media.video.source_video.normalise_video`."""
    arguments = {"source": source, "destination_mp4": destination_mp4, "max_seconds": max_seconds}
    limits = _limits_for(max_seconds, VIDEO_CPU_SECONDS, VIDEO_BYTES)
    video: SourceVideo = decode("normalise_video", arguments, limits=limits, param=param, check=check)
    return video


def check_video(source: Path, *, param: str, check: Check) -> None:
    """As `render.media.video.source_video.check_video`."""
    decode("check_video", {"source": source}, limits=PROBE_LIMITS, param=param, check=check)


def _limits_for(seconds: float, cpu_seconds: float, num_bytes: int) -> Limits:
    """cpu_seconds, num_bytes: per second of the recording."""
    return Limits(
        cpu_seconds=BASE_CPU_SECONDS + round(seconds * cpu_seconds), file_bytes=BASE_BYTES + round(seconds * num_bytes)
    )
