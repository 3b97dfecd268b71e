"""Content types of stored files, by the suffix of their names; and the suffix for a checked upload."""

import mimetypes
from pathlib import PurePosixPath
from typing import Any

UNKNOWN = "application/octet-stream"
# Written out here, because the tables that `mimetypes` reads differ from machine to machine.
TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ts": "video/mp2t",
    ".mpg": "video/mpeg",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".ogv": "video/ogg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".aac": "audio/aac",
    ".aiff": "audio/aiff",
    ".amr": "audio/amr",
    ".ac3": "audio/ac3",
    ".eac3": "audio/eac3",
    ".au": "audio/basic",
    ".wma": "audio/x-ms-wma",
}
# By Pillow's or FFmpeg's name of the format; FFmpeg lists several names, of which the first counts.
_IMAGES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "HEIF": ".heic",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
}
_VIDEOS = {
    "mov": ".mp4",
    "matroska": ".mkv",
    "ogg": ".ogv",
    "mpegts": ".ts",
    "mpeg": ".mpg",
    "avi": ".avi",
    "asf": ".wmv",
    "flv": ".flv",
}
_SOUNDS = {
    "mov": ".m4a",
    "matroska": ".webm",
    "ogg": ".ogg",
    "wav": ".wav",
    "mp3": ".mp3",
    "flac": ".flac",
    "aac": ".aac",
    "aiff": ".aiff",
    "amr": ".amr",
    "asf": ".wma",
    "ac3": ".ac3",
    "eac3": ".eac3",
    "au": ".au",
}
_SUFFIXES = {"image": _IMAGES, "video": _VIDEOS, "audio": _SOUNDS}
WEBM_CODECS = ("vp8", "vp9", "av1")


def content_type_of(name: str) -> str:
    """The content type of a stored file, by the suffix of its name."""
    suffix = PurePosixPath(name).suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0] or UNKNOWN


def suffix_of(kind: str, facts: dict[str, Any]) -> str:
    """The suffix for an uploaded file; empty for a format that no browser shows or plays.

    kind, facts: as `render.pipeline.media_inspection` returns them.
    """
    suffix = _SUFFIXES[kind].get(facts["format"].partition(",")[0], "")
    if suffix == ".mkv" and facts["codec"] in WEBM_CODECS:
        return ".webm"
    return suffix
