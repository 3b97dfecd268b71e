"""The voices that this installation has, and the script of a project as they can speak it."""

import wave
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypedDict

from django.conf import settings
from django.utils.module_loading import import_string

from accounts.errors import ServiceError
from render.speech import ssml
from render.speech.base import SAMPLE_RATE, SpeechEngine, Voice
from render.speech.joining import joined
from render.speech.spoken_script import Reading, read


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
    wanted = language or _language_of(text)
    if wanted is not None:
        fitting = [candidate for candidate in fitting if candidate.speaks(wanted)]
    if not fitting:
        spoken = ", ".join(sorted({candidate.language for candidate in known.values()}))
        who = f"The voice {voice} does not speak" if voice else "No voice speaks"
        if language is None:
            raise ServiceError(
                "script_unspeakable", f'{who} the xml:lang "{wanted}"; spoken are: {spoken}.', param="script"
            )
        raise ServiceError("invalid", f"{who} that language; spoken are: {spoken}.", param="language")
    chosen = fitting[0]
    _read(text, chosen)
    return Script(text=text, voice=chosen.id, language=wanted or chosen.language)


def left_out(script: Script) -> list[str]:
    """The different characters of it that are not spoken, because its voice, which must be known, cannot."""
    return _read(script["text"], voices()[script["voice"]]).left_out


def speak(
    script: Script,
    path: Path,
    *,
    max_seconds: float,
    check: Callable[[], None] = lambda: None,
    moved_on: Callable[[], None] = lambda: None,
) -> None:
    """Write it as a WAV file. Raises ServiceError `audio_too_long` or `script_unspeakable`, or SpeechUnavailable.

    `check` is called with each block of sound; what it raises ends the speaking, and is raised here. So is `moved_on`:
    with a slow engine a long script takes hours.
    """
    chosen = voices().get(script["voice"])
    if chosen is None:
        raise ServiceError("invalid", f"The voice {script['voice']} is not installed any more.", param="voice")
    engine, reading = _engine_of(chosen.id), _read(script["text"], chosen)
    if reading.pause_seconds > max_seconds:  # Before anything is spoken.
        raise _too_long(
            f"The pauses of the script alone last {reading.pause_seconds:g} s, which is longer", max_seconds
        )
    samples, most = 0, int(max_seconds * SAMPLE_RATE)
    is_spoken = False

    def sound(text: str) -> Iterator[bytes]:
        nonlocal is_spoken
        check()
        for block in engine.speak(text, chosen):
            check()
            moved_on()
            is_spoken = is_spoken or bool(block)
            yield block

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for block in joined(reading.passages, sound):
            samples += len(block) // 2
            if samples > most:
                raise _too_long("Spoken, the script is longer", max_seconds)
            file.writeframesraw(block)
    if not is_spoken:
        raise ServiceError("script_unspeakable", "Nothing was spoken of this script.", param="script")


def _read(text: str, voice: Voice) -> Reading:
    engine = _engine_of(voice.id)
    reading = read(text, voice, engine.reads)
    engine.check(reading.text, voice)
    return reading


def _language_of(text: str) -> str | None:
    """That SSML says it is in."""
    languages = ssml.parse(text, english=True).languages if ssml.is_ssml(text) else []
    return languages[0] if languages else None


def _too_long(what: str, max_seconds: float) -> ServiceError:
    return ServiceError("audio_too_long", f"{what} than the {max_seconds:g} s that this key allows.", param="script")


def _engine_of(voice_id: str) -> SpeechEngine:
    return next(engine for engine in _engines() if any(voice.id == voice_id for voice in engine.voices()))


def _engines() -> list[SpeechEngine]:
    return [_make(name) for name in settings.SPEECH_ENGINES]


@cache
def _make(name: str) -> SpeechEngine:
    entry = settings.SPEECH_ENGINES[name]
    engine: SpeechEngine = import_string(entry["class"])(**entry.get("options", {}))
    return engine
