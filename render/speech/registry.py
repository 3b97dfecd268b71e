"""The voices of this installation: choosing one for a script, and speaking the script."""

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
from render.speech.spoken_script import SpokenScript, prepare


class Script(TypedDict):
    """A script as a render stores it (JSON)."""

    text: str
    voice: str
    language: str


def voices() -> dict[str, Voice]:
    """By id, the preferred ones first."""
    by_id: dict[str, Voice] = {}
    for engine in _engines():
        for voice in engine.voices():
            by_id.setdefault(voice.id, voice)
    return by_id


def choose(text: str, *, voice: str | None, language: str | None) -> Script:
    """Choose a voice for a text.

    voice: its id, or None for any. language: BCP 47; None for the one that the SSML names, or for any.

    Raises ServiceError `invalid` for a voice or a language that does not exist, or `script_unspeakable`.
    """
    available = voices()
    if voice is not None and voice not in available:
        detail = f"There is no such voice. Voices: {', '.join(available)}."
        raise ServiceError("invalid", detail, param="voice")
    candidates = [available[voice]] if voice is not None else list(available.values())
    required = language or _ssml_language(text)
    if required is not None:
        candidates = [candidate for candidate in candidates if candidate.speaks(required)]
    if not candidates:
        languages = ", ".join(sorted({candidate.language for candidate in available.values()}))
        subject = f"The voice {voice} does not speak" if voice else "No voice speaks"
        if language is None:
            detail = f'{subject} the xml:lang "{required}". Languages: {languages}.'
            raise ServiceError("script_unspeakable", detail, param="script")
        raise ServiceError("invalid", f"{subject} that language. Languages: {languages}.", param="language")
    chosen = candidates[0]
    _prepare(text, chosen)  # raises for what it cannot speak
    return Script(text=text, voice=chosen.id, language=required or chosen.language)


def left_out(script: Script) -> list[str]:
    """The different characters that the script's voice, which must be installed, cannot speak."""
    return _prepare(script["text"], voices()[script["voice"]]).left_out


def speak(
    script: Script,
    path: Path,
    *,
    max_seconds: float,
    check: Callable[[], None] = lambda: None,
    moved_on: Callable[[], None] = lambda: None,
) -> None:
    """Write the spoken script as a WAV file.

    `check` and `moved_on` are called with each block of audio: a slow engine takes hours for a long script. What they
    raise ends the speaking. Raises ServiceError `audio_too_long`, `script_unspeakable` or `invalid` for a voice that is
    not installed, or SpeechUnavailable.
    """
    from render.speech.joining import join_passages  # It loads NumPy, which most processes do not need.

    chosen = voices().get(script["voice"])
    if chosen is None:
        raise ServiceError("invalid", f"The voice {script['voice']} is no longer installed.", param="voice")
    engine, prepared = _engine_of(chosen.id), _prepare(script["text"], chosen)
    if prepared.pause_seconds > max_seconds:  # known before anything is spoken
        raise _too_long(
            f"The pauses of the script alone last {prepared.pause_seconds:g} s, which is longer", max_seconds
        )
    samples, max_samples = 0, int(max_seconds * SAMPLE_RATE)
    is_spoken = False

    def speak_text(text: str) -> Iterator[bytes]:
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
        for block in join_passages(prepared.passages, speak_text):
            samples += len(block) // 2
            if samples > max_samples:
                raise _too_long("The spoken script is longer", max_seconds)
            file.writeframesraw(block)
    if not is_spoken:
        raise ServiceError("script_unspeakable", "The speech engine spoke nothing of this script.", param="script")


def _prepare(text: str, voice: Voice) -> SpokenScript:
    engine = _engine_of(voice.id)
    prepared = prepare(text, voice, engine.can_speak)
    engine.check(prepared.text, voice)
    return prepared


def _ssml_language(text: str) -> str | None:
    """The first xml:lang; None without one, and for a text that is not SSML."""
    languages = ssml.parse(text, english=True).languages if ssml.is_ssml(text) else []
    return languages[0] if languages else None


def _too_long(subject: str, max_seconds: float) -> ServiceError:
    return ServiceError("audio_too_long", f"{subject} than the {max_seconds:g} s that this key allows.", param="script")


def _engine_of(voice_id: str) -> SpeechEngine:
    return next(engine for engine in _engines() if any(voice.id == voice_id for voice in engine.voices()))


def _engines() -> list[SpeechEngine]:
    return [_engine(name) for name in settings.SPEECH_ENGINES]


@cache
def _engine(name: str) -> SpeechEngine:
    entry = settings.SPEECH_ENGINES[name]
    engine: SpeechEngine = import_string(entry["class"])(**entry.get("options", {}))
    return engine
