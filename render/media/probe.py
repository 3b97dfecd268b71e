"""What a file is, by its content: neither its name nor the Content-Type it came with is looked at."""

from dataclasses import dataclass
from pathlib import Path

from accounts.errors import ServiceError
from render.media.image.portrait import DECODE_ERRORS as PICTURE_ERRORS
from render.media.image.portrait import open_picture
from render.media.reading.demux import DECODE_ERRORS, moving_picture, open_source, sound_track
from render.media.reading.wrong_file import unreadable_film


@dataclass(frozen=True)
class ImageFacts:
    format: str  # Pillow's name: JPEG, PNG, ...
    width: int  # pixels as stored, before the orientation is applied
    height: int


@dataclass(frozen=True)
class VideoFacts:
    format: str  # FFmpeg's names, as "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str
    width: int
    height: int
    frames_per_second: float | None
    duration_seconds: float | None  # as the container claims, which may be wrong
    has_sound: bool


@dataclass(frozen=True)
class AudioFacts:
    format: str
    codec: str
    sample_rate: int  # Hz
    channels: int
    duration_seconds: float | None  # as the container claims, which may be wrong


def probe(source: Path, *, param: str) -> ImageFacts | VideoFacts | AudioFacts | None:
    """Read the headers; None for what is no picture, film or sound (HTML, PDF, SVG, playlists, noise).

    Of an animated PNG, WebP or GIF the first picture counts: it is an image. A sound with a cover picture is a sound.

    Raises ServiceError image_too_large, media_too_complex, image_invalid for an unusual TIFF, or video_invalid for what
    begins as a film and cannot be opened, most often an upload that broke off, or has no picture that can be decoded.
    """
    facts = _picture_facts(source, param) or _film_or_sound_facts(source)
    detail = unreadable_film(source) if facts is None else None
    if detail is not None:
        raise ServiceError("video_invalid", detail, param=param)
    return facts


def _picture_facts(source: Path, param: str) -> ImageFacts | None:
    try:
        with open_picture(source, param=param) as image:
            return ImageFacts(image.format or "", image.width, image.height)
    except PICTURE_ERRORS:
        return None


def _film_or_sound_facts(source: Path) -> VideoFacts | AudioFacts | None:
    try:
        with open_source(source) as container:
            seconds = container.duration / 1e6 if container.duration else None  # AV_TIME_BASE: microseconds
            video, audio = moving_picture(container), sound_track(container)
            if video is not None:
                rate = video.average_rate or video.guessed_rate
                return VideoFacts(
                    format=container.format.name,
                    codec=video.codec_context.name,
                    width=video.codec_context.width,
                    height=video.codec_context.height,
                    frames_per_second=float(rate) if rate else None,
                    duration_seconds=seconds,
                    has_sound=audio is not None,
                )
            if audio is not None:
                return AudioFacts(
                    format=container.format.name,
                    codec=audio.codec_context.name,
                    sample_rate=audio.codec_context.sample_rate,
                    channels=audio.codec_context.channels,
                    duration_seconds=seconds,
                )
    except DECODE_ERRORS:
        pass
    return None
