"""From the customer's addresses to normalised files in the media storage."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from django.conf import settings

from accounts.errors import ServiceError
from render.engines.base import FPS
from render.media.audio.voice import Voice
from render.media.download.fetch import FetchLimits, fetch
from render.media.isolation import calls as isolated
from render.media.isolation.calls import Check
from render.media.probe import VideoFacts
from render.media.video.scene import AudioOrder, arrange_scene
from render.media.video.source_video import SourceVideo
from render.models import Render
from render.sources import Sources, SourceWarning, Speech
from render.speech.registry import Script, speak
from render.storage import media


def prepare_sources(
    render: Render,
    *,
    min_audio_seconds: float,
    num_frames: int | None,
    folder: Path,
    check: Check,
    moved_on: Callable[[], None] = lambda: None,
) -> tuple[Sources, list[SourceWarning]]:
    """Fetch or speak, check, normalise, store; also return what is wrong with the files.

    Raises ServiceError with the parameter at fault, SpeechUnavailable.

    `check` is called all the time while files are fetched or decoded; what it raises ends that, and is raised here.
    `moved_on` is called when some of it is done.
    """
    check = _noticing_growth(folder, check, moved_on)
    addresses = {"image_url": render.image_url, "audio_url": render.audio_url, "audio_url_2": render.audio_url_2}
    fetched = _fetch_all({param: url for param, url in addresses.items() if url}, folder, check)
    moved_on()
    image = fetched.pop("image_url")
    max_seconds = render.tenant.plan.max_audio_seconds
    if render.script:
        spoken = folder / "script"
        speak(cast("Script", render.script), spoken, max_seconds=max_seconds, check=check, moved_on=moved_on)
        moved_on()
        fetched = {"script": spoken, **fetched}
    voices = [_voice(path, param, max_seconds, min_audio_seconds, check) for param, path in fetched.items()]
    warnings = [warning for param, voice in zip(fetched, voices, strict=True) for warning in _damage(param, voice)]
    speech = _store_speech(fetched["script"], voices[0], render) if render.script else None
    scene = arrange_scene(voices, cast("AudioOrder", render.audio_order), folder)
    seconds = num_frames / FPS if num_frames else scene.duration_seconds

    def store(path: Path) -> str:
        moved_on()
        return media.store_source(path, render, lambda share: moved_on())

    portrait = video = None
    if isinstance(isolated.probe(image, param="image_url", check=check), VideoFacts):
        path = folder / "video.mp4"
        film = isolated.normalise_video(image, path, max_seconds=seconds, param="image_url", check=check)
        warnings += _damage("image_url", film)
        video = store(path)
    else:
        path = folder / "portrait.png"
        isolated.normalise_portrait(image, path, param="image_url", check=check)
        portrait = store(path)
    sources = Sources(
        portrait=portrait,
        video=video,
        voices=[store(path) for path in scene.voices],
        sound=[(store(path), offset) for path, offset in scene.sound],
    )
    if speech is not None:
        sources["speech"] = speech
    return sources, warnings


def _noticing_growth(folder: Path, check: Check, moved_on: Callable[[], None]) -> Check:
    """The same `check`; each time it finds more in the folder than ever before, `moved_on` is called."""
    most = 0

    def look() -> None:
        nonlocal most
        check()
        num_bytes = 0
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # A partial file has just got its name.
                num_bytes += path.stat().st_size
        if num_bytes > most:
            most = num_bytes
            moved_on()

    return look


def _fetch_all(addresses: dict[str, str], folder: Path, check: Check) -> dict[str, Path]:
    def bring(param: str) -> Path:
        if addresses[param].startswith(media.STORED):
            return _fetch_stored(addresses[param], folder / param, param)
        max_bytes = settings.MAX_IMAGE_BYTES if param == "image_url" else settings.MAX_AUDIO_BYTES
        return fetch(
            addresses[param],
            folder / param,
            limits=FetchLimits(max_bytes=max_bytes, total_seconds=settings.DOWNLOAD_TIMEOUT_SECONDS),
            allow_private=settings.ALLOW_PRIVATE_MEDIA_URLS,
            param=param,
            user_agent=settings.USER_AGENT,
            check=check,
        ).path

    with ThreadPoolExecutor() as pool:
        return dict(zip(addresses, pool.map(bring, addresses), strict=True))


def _fetch_stored(source: str, destination: Path, param: str) -> Path:
    """A file of the tenant's own, which was uploaded; `source` was made by us, never by a customer."""
    sha256, _, key = source.removeprefix(media.STORED).partition("/")
    try:
        media.download_verified(key, destination, sha256=sha256)
    except media.MissingObject as error:
        raise ServiceError("asset_not_found", "The asset was deleted.", param=param) from error
    return destination


def _store_speech(spoken: Path, voice: Voice, render: Render) -> Speech:
    sha256 = media.sha256_of(spoken)
    num_bytes = spoken.stat().st_size
    return Speech(
        key=media.store_speech(spoken, render, sha256=sha256),
        sha256=sha256,
        num_bytes=num_bytes,
        duration_seconds=round(voice.duration_seconds, 3),
    )


def _damage(param: str, found: Voice | SourceVideo) -> list[SourceWarning]:
    if not found.lost_seconds:
        return []
    detail = (
        f"The file is damaged or was cut off: {max(0.01, found.lost_seconds):.2f} s of it could not be read. The"
        " film was made without that part."
    )
    return [SourceWarning(param=param, code="damaged", detail=detail)]


def _voice(path: Path, param: str, max_seconds: float, min_seconds: float, check: Check) -> Voice:
    voice = isolated.normalise_voice(
        path,
        path.with_suffix(".wav"),
        max_seconds=max_seconds,
        param=param,
        check=check,
        sound_flac=path.with_suffix(".flac"),
    )
    if voice.duration_seconds < min_seconds:
        raise ServiceError(
            "audio_too_short",
            f"The voice lasts {voice.duration_seconds:.2f} s; at least {min_seconds:g} s are needed.",
            param=param,
        )
    return voice
