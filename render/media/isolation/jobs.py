"""The jobs of the decoding process, and their arguments and results as JSON.

Not pickle: a hostile file that has taken over that process must not get into the process that reads its answers.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accounts.errors import ServiceError
from render.media.audio import voice
from render.media.audio.voice import Voice
from render.media.image.portrait import Portrait, normalise_portrait
from render.media.probe import AudioFacts, ImageFacts, VideoFacts, probe
from render.media.reading.wrong_file import why_not_audio, why_not_media
from render.media.video.source_video import SourceVideo, check_video, normalise_video


def refuse(source: Path, *, param: str) -> None:
    """Raise ServiceError media_invalid, which tells what the file is."""
    raise ServiceError("media_invalid", why_not_media(source), param=param)


def normalise_voice(source: Path, *, param: str, **arguments: Any) -> Voice:
    """As `voice.normalise_voice`, but for a file without a readable audio track the error tells what the file is."""
    try:
        return voice.normalise_voice(source, param=param, **arguments)
    except ServiceError as error:
        detail = why_not_audio(source) if error.code == "audio_invalid" else None
        if detail is None:
            raise
        raise ServiceError(error.code, detail, param=param) from error


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job for job in (probe, normalise_portrait, normalise_video, normalise_voice, check_video, refuse)
}
RESULTS: dict[str, type] = {
    kind.__name__: kind for kind in (ImageFacts, VideoFacts, AudioFacts, Portrait, SourceVideo, Voice)
}
PATHS = {"source", "destination_png", "destination_mp4", "destination_wav", "audio_flac", "path", "audio"}


def do(job: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Call a job with arguments from JSON, and return its result for JSON."""
    result = JOBS[job](**_with_paths(arguments))
    return None if result is None else {"kind": type(result).__name__, "fields": to_json(asdict(result))}


def from_json(result: dict[str, Any] | None) -> Any:
    """What the job has returned: None, or an instance of one of RESULTS."""
    return None if result is None else RESULTS[result["kind"]](**_with_paths(result["fields"]))


def to_json(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _with_paths(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Path(value) if name in PATHS and value is not None else value for name, value in fields.items()}
