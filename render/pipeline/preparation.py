"""The step `prepare`: from the customer's URLs and script to normalised files in the media storage."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from django.conf import settings

from accounts.errors import ServiceError
from render import advice
from render.engines.base import FPS, Engine
from render.frame.shot import Shot
from render.media.audio.scene import AudioOrder, arrange_scene, lengthen
from render.media.audio.voice import Voice
from render.media.download.fetch import fetch
from render.media.download.retrying import FetchLimits
from render.media.isolation import calls as isolated
from render.media.isolation.calls import Check
from render.media.probe import VideoFacts
from render.media.video.source_video import SourceVideo
from render.models import Render
from render.parameters import Parameters
from render.pipeline.framed_source import prepare_frames
from render.pipeline.growth import GrowthCheck
from render.sources import Sources, SourceWarning, Speech
from render.speech.registry import Script, speak
from render.storage import media

GROWTH_CHECKS_PER_TIMEOUT = 100
BACKGROUND = "parameters.background"


@dataclass(frozen=True)
class Prepared:
    """What `prepare_sources` returns."""

    sources: Sources
    shot: Shot
    num_frames: int | None  # forced length of the video; None: as long as the voice
    warnings: list[SourceWarning]


def prepare_sources(
    render: Render,
    *,
    engine: Engine,
    folder: Path,
    check: Check,
    check_draining: Check = lambda: None,
    moved_on: Callable[[], None] = lambda: None,
) -> Prepared:
    """Fetch or speak the sources, check, normalise, frame and store them.

    folder: for the local files. check: called often while files are fetched or decoded; an exception from it ends that,
    and is raised here. check_draining: likewise, while a background is replaced frame by frame, which takes long.
    moved_on: called whenever something has been done. Raises ServiceError with the parameter at fault, StorageFailure,
    DamagedObject, SpeechUnavailable.
    """
    parameters = Parameters.resolve(render.parameters)
    interval = settings.RENDER_TIMEOUT_SECONDS / GROWTH_CHECKS_PER_TIMEOUT
    check = GrowthCheck(folder, check, moved_on, interval_seconds=interval)
    urls = {"image_url": render.image_url, "audio_url": render.audio_url, "audio_url_2": render.audio_url_2}
    if parameters.background.startswith(media.STORED):
        urls[BACKGROUND] = parameters.background
    fetched = _fetch_all({param: url for param, url in urls.items() if url}, folder, check)
    moved_on()
    image = fetched.pop("image_url")
    background_image = fetched.pop(BACKGROUND, None)
    max_seconds = render.tenant.plan.max_audio_seconds
    if render.script:
        spoken = folder / "script"
        speak(cast("Script", render.script), spoken, max_seconds=max_seconds, check=check, moved_on=moved_on)
        moved_on()
        fetched = {"script": spoken, **fetched}
    voices = []
    for param, path in fetched.items():
        voices.append(_voice(path, param, max_seconds, engine.min_audio_seconds, check))
        moved_on()
    warnings = [warning for param, voice in zip(fetched, voices, strict=True) for warning in _damage(param, voice)]
    speech = _store_speech(fetched["script"], voices[0], render) if render.script else None
    scene = arrange_scene(voices, cast("AudioOrder", render.audio_order), folder)

    def store(path: Path) -> str:
        moved_on()
        key = media.store_source(path, render, lambda share: moved_on())
        path.rename(media.local_path(key, folder))  # The engine finds the file there.
        return key

    num_frames = parameters.frame_num
    is_video = isinstance(isolated.probe(image, param="image_url", check=check), VideoFacts)
    if is_video:
        path = folder / "source.mp4"
        by_video = parameters.length == "video"
        if by_video:
            seconds = max_seconds + 1.0  # one second more, so that a video that is too long is noticed
        elif num_frames:
            seconds = num_frames / FPS
        else:
            seconds = scene.duration_seconds
        source_video = isolated.normalise_video(image, path, max_seconds=seconds, param="image_url", check=check)
        if by_video:
            num_frames = _require_length(source_video, max_seconds)
            warnings += advice.of_length(voice_seconds=scene.duration_seconds, video_seconds=num_frames / FPS)
        warnings += _damage("image_url", source_video)
    else:
        path = folder / "portrait.png"
        isolated.normalise_portrait(image, path, param="image_url", check=check)
    if num_frames is not None:
        # After the voice comes silence, in which the mouth is closed. Without it the model would invent speech.
        scene = lengthen(scene, num_frames / FPS, folder)
    if background_image is not None:
        normalised = folder / "background.png"
        isolated.normalise_portrait(background_image, normalised, param=BACKGROUND, check=check)
        background_image = normalised
    seconds = num_frames / FPS if num_frames is not None else scene.duration_seconds
    parameters.require_short(is_video=is_video, seconds=seconds)
    moved_on()

    def check_frame() -> None:
        check()
        check_draining()

    framed = prepare_frames(
        path,
        is_video=is_video,
        parameters=parameters,
        speakers=render.speakers,
        num_voices=len(voices),
        engine=engine,
        background_image=background_image,
        check=check_frame,
        moved_on=moved_on,
    )
    stored = store(framed.path)
    sources = Sources(
        portrait=None if is_video else stored,
        video=stored if is_video else None,
        voices=[store(path) for path in scene.voices],
        sound=[(store(path), offset) for path, offset in scene.audio],
    )
    if speech is not None:
        sources["speech"] = speech
    warnings += framed.warnings
    return Prepared(sources, framed.shot, num_frames, warnings)


def _require_length(video: SourceVideo, max_seconds: float) -> int:
    """The number of its frames. Raises ServiceError `video_too_long`."""
    if video.num_frames > max_seconds * FPS:
        detail = f"The video lasts longer than {max_seconds:g} s, which is the most. Shorten it, or leave out `length`."
        raise ServiceError("video_too_long", detail, param="image_url")
    return video.num_frames


def _fetch_all(urls: dict[str, str], folder: Path, check: Check) -> dict[str, Path]:
    """Fetch the files at the same time. urls: by parameter. Returns the files by parameter."""

    def fetch_one(param: str) -> Path:
        if urls[param].startswith(media.STORED):
            return _fetch_stored(urls[param], folder / param, param)
        max_bytes = settings.MAX_IMAGE_BYTES if param in ("image_url", BACKGROUND) else settings.MAX_AUDIO_BYTES
        return fetch(
            urls[param],
            folder / param,
            limits=FetchLimits(max_bytes=max_bytes, total_seconds=settings.DOWNLOAD_TIMEOUT_SECONDS),
            allow_private=settings.ALLOW_PRIVATE_MEDIA_URLS,
            param=param,
            user_agent=settings.USER_AGENT,
            check=check,
        ).path

    with ThreadPoolExecutor() as pool:
        return dict(zip(urls, pool.map(fetch_one, urls), strict=True))


def _fetch_stored(source: str, destination: Path, param: str) -> Path:
    """Fetch a file that the tenant has uploaded. `source` was made by this service, never by a customer."""
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


def _damage(param: str, file: Voice | SourceVideo) -> list[SourceWarning]:
    """The warning about a damaged file, if it is damaged."""
    if not file.lost_seconds:
        return []
    detail = (
        f"The file is damaged or was cut off: {max(0.01, file.lost_seconds):.2f} s of it could not be read. The"
        " video was made without that part."
    )
    return [SourceWarning(param=param, code="damaged", detail=detail)]


def _voice(path: Path, param: str, max_seconds: float, min_seconds: float, check: Check) -> Voice:
    voice = isolated.normalise_voice(
        path,
        path.with_suffix(".wav"),
        max_seconds=max_seconds,
        param=param,
        check=check,
        audio_flac=path.with_suffix(".flac"),
    )
    if voice.duration_seconds < min_seconds:
        raise ServiceError(
            "audio_too_short",
            f"The voice lasts {voice.duration_seconds:.2f} s; at least {min_seconds:g} s are needed.",
            param=param,
        )
    return voice
