"""What the decoding process can be asked, and how its answers look as JSON.

Not pickle: who has taken over that process with a hostile file must not get into the one that reads its answers.
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
from render.media.reading.wrong_file import instead_of_media, instead_of_sound
from render.media.video.source_video import SourceVideo, check_film, normalise_video


def refuse(source: Path, *, param: str) -> None:
    """Raises ServiceError media_invalid, which says what the file is."""
    raise ServiceError("media_invalid", instead_of_media(source), param=param)


def normalise_voice(source: Path, *, param: str, **arguments: Any) -> Voice:
    """As `voice.normalise_voice`, and says what a file is that has no sound track that can be read."""
    try:
        return voice.normalise_voice(source, param=param, **arguments)
    except ServiceError as error:
        detail = instead_of_sound(source) if error.code == "audio_invalid" else None
        if detail is None:
            raise
        raise ServiceError(error.code, detail, param=param) from error


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job for job in (probe, normalise_portrait, normalise_video, normalise_voice, check_film, refuse)
}
ANSWERS: dict[str, type] = {
    kind.__name__: kind for kind in (ImageFacts, VideoFacts, AudioFacts, Portrait, SourceVideo, Voice)
}
PATHS = {"source", "destination_png", "destination_mp4", "destination_wav", "sound_flac", "path", "sound"}


def do(job: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Call a job with arguments as they came, and return its answer as JSON can hold it."""
    answer = JOBS[job](**_with_paths(arguments))
    return None if answer is None else {"kind": type(answer).__name__, "fields": plain(asdict(answer))}


def answer_of(said: dict[str, Any] | None) -> Any:
    return None if said is None else ANSWERS[said["kind"]](**_with_paths(said["fields"]))


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _with_paths(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Path(value) if name in PATHS and value is not None else value for name, value in fields.items()}
