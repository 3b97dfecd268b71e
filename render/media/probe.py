"""What a file is, by its content: its name and the Content-Type that came with it are ignored."""

from dataclasses import dataclass
from pathlib import Path

from accounts.errors import ServiceError
from render.media.image.portrait import DECODE_ERRORS as IMAGE_ERRORS
from render.media.image.portrait import open_image
from render.media.reading.opening import DECODE_ERRORS, audio_track, open_source, video_track
from render.media.reading.wrong_file import why_unreadable_video


@dataclass(frozen=True)
class ImageFacts:
    format: str  # Pillow's name: JPEG, PNG, ...
    width: int  # pixels as stored, before the orientation is applied
    height: int


@dataclass(frozen=True)
class VideoFacts:
    format: str  # FFmpeg's names, such as "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str
    width: int
    height: int
    frames_per_second: float | None
    duration_seconds: float | None  # by the container's header, which may be wrong
    has_sound: bool  # the name is stored with the facts of an upload


@dataclass(frozen=True)
class AudioFacts:
    format: str
    codec: str
    sample_rate: int  # Hz
    channels: int
    duration_seconds: float | None  # by the container's header, which may be wrong


def probe(source: Path, *, param: str) -> ImageFacts | VideoFacts | AudioFacts | None:
    """Read the headers. None for a file that is not an image, a video or audio (HTML, PDF, SVG, playlists, noise).

    An animated PNG, WebP or GIF is an image, by its first frame. Audio with a cover image is audio.

    Raises ServiceError image_too_large, media_too_complex, image_invalid for an unusual TIFF, or video_invalid for a
    file of a video format that cannot be opened, most often a broken upload, or whose video track cannot be decoded.
    """
    facts = _image_facts(source, param) or _video_or_audio_facts(source)
    detail = why_unreadable_video(source) if facts is None else None
    if detail is not None:
        raise ServiceError("video_invalid", detail, param=param)
    return facts


def _image_facts(source: Path, param: str) -> ImageFacts | None:
    try:
        with open_image(source, param=param) as image:
            return ImageFacts(image.format or "", image.width, image.height)
    except IMAGE_ERRORS:
        return None


def _video_or_audio_facts(source: Path) -> VideoFacts | AudioFacts | None:
    try:
        with open_source(source) as container:
            seconds = container.duration / 1e6 if container.duration else None  # AV_TIME_BASE: microseconds
            video, audio = video_track(container), audio_track(container)
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
