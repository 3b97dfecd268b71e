"""The voices that this installation has, and the script of a project as they can speak it."""

import wave
from functools import cache
from pathlib import Path
from typing import TypedDict

from django.conf import settings
from django.utils.module_loading import import_string

from accounts.errors import ServiceError
from render.speech.base import SAMPLE_RATE, SpeechEngine, Voice


class Script(TypedDict):
    """As a render keeps it."""

    text: str
    voice: str
    language: str


def voices() -> dict[str, Voice]:
    """By id, the preferred ones first."""
    found: dict[str, Voice] = {}
    for engine in _engines():
        for voice in engine.voices():
            found.setdefault(voice.id, voice)
    return found


def choose(text: str, *, voice: str | None, language: str | None) -> Script:
    """Raises ServiceError `invalid`, for a voice or a language that is not there, or `script_unspeakable`."""
    known = voices()
    if voice is not None and voice not in known:
        raise ServiceError("invalid", f"There is no such voice; there are: {', '.join(known)}.", param="voice")
    fitting = [known[voice]] if voice is not None else list(known.values())
    if language is not None:
        fitting = [candidate for candidate in fitting if _speaks(candidate, language)]
    if not fitting:
        spoken = ", ".join(sorted({candidate.language for candidate in known.values()}))
        who = f"The voice {voice} does not speak" if voice else "No voice speaks"
        raise ServiceError("invalid", f"{who} that language; spoken are: {spoken}.", param="language")
    chosen = fitting[0]
    _engine_of(chosen.id).check(text, chosen)
    return Script(text=text, voice=chosen.id, language=language or chosen.language)


def speak(script: Script, path: Path, *, max_seconds: float) -> None:
    """Write it as a WAV file. Raises ServiceError `audio_too_long` or `script_unspeakable`, or SpeechUnavailable."""
    chosen = voices().get(script["voice"])
    if chosen is None:
        raise ServiceError("invalid", f"The voice {script['voice']} is not installed any more.", param="voice")
    samples, most = 0, int(max_seconds * SAMPLE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for block in _engine_of(chosen.id).speak(script["text"], chosen):
            samples += len(block) // 2
            if samples > most:
                detail = f"Spoken, the script is longer than the {max_seconds:g} s that this key allows."
                raise ServiceError("audio_too_long", detail, param="script")
            file.writeframesraw(block)
    if not samples:
        raise ServiceError("script_unspeakable", "Nothing was spoken of this script.", param="script")


def _speaks(voice: Voice, language: str) -> bool:
    """`en` also means a voice of en-GB, and en-GB one of `en`, if there is none of its own."""
    mine, wanted = voice.language.lower(), language.lower()
    return mine == wanted or mine.split("-")[0] == wanted or mine == wanted.split("-")[0]


def _engine_of(voice_id: str) -> SpeechEngine:
    return next(engine for engine in _engines() if any(voice.id == voice_id for voice in engine.voices()))


def _engines() -> list[SpeechEngine]:
    return [_make(name) for name in settings.SPEECH_ENGINES]


@cache
def _make(name: str) -> SpeechEngine:
    entry = settings.SPEECH_ENGINES[name]
    engine: SpeechEngine = import_string(entry["class"])(**entry.get("options", {}))
    return engine
