"""A script prepared for a voice: what is spoken, what is silence and what is left out."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from accounts.errors import ServiceError
from render.speech import ssml
from render.speech.base import Voice
from render.speech.passages import Passage, Pause, Spoken
from render.speech.text_normalisation import normalise_text

# This many letters may be left out, such as a name in another alphabet. With more, the meaning of the text is lost.
MAX_LEFT_OUT_SHARE = 0.1
MAX_LEFT_OUT = 100
SHOWN = 5  # characters, in a message, of those that cannot be spoken


@dataclass(frozen=True)
class SpokenScript:
    passages: list[Passage]
    left_out: list[str]  # the different characters that the voice cannot speak

    @property
    def pause_seconds(self) -> float:
        return sum(passage.seconds for passage in self.passages if isinstance(passage, Pause))

    @property
    def text(self) -> str:
        """All words, for the checks of a speech engine."""
        return "\n".join(passage.text for passage in self.passages if isinstance(passage, Spoken))


def prepare(script: str, voice: Voice, can_speak: Callable[[str], bool]) -> SpokenScript:
    """can_speak: whether the voice can pronounce a letter or a sign.

    Raises ServiceError `script_unspeakable` for SSML that is not supported, for too many letters that cannot be spoken,
    and for a script without words.
    """
    english = voice.speaks("en")
    passages: list[Passage] = []
    left_out: list[str] = []
    letters = 0
    for passage in _parse(script, voice, english=english):
        if isinstance(passage, Pause):
            passages.append(passage)
            continue
        text = normalise_text(passage.text, english=english)
        letters += sum(c.isalpha() for c in text)
        if unspeakable := {c for c in set(text) if _is_letter_or_sign(c) and not can_speak(c)}:
            left_out += [c for c in text if c in unspeakable]
            text = "".join(" " if c in unspeakable else c for c in text)
        if any(c.isalnum() for c in text):
            passages.append(Spoken(text.strip()))
    letters_left_out = [c for c in left_out if c.isalpha()]
    if len(letters_left_out) > min(MAX_LEFT_OUT_SHARE * letters, MAX_LEFT_OUT):
        shown = " ".join(list(dict.fromkeys(letters_left_out))[:SHOWN])
        language = "English" if english else voice.language
        raise _unspeakable(
            f"The voice {voice.id} speaks {language} and cannot read: {shown}"
            f" ({len(letters_left_out)} of {letters} letters)."
        )
    if not any(isinstance(passage, Spoken) for passage in passages):
        raise _unspeakable("The script has no words.")
    return SpokenScript(passages, list(dict.fromkeys(left_out)))


def _parse(script: str, voice: Voice, *, english: bool) -> list[Passage]:
    if not ssml.is_ssml(script):
        return [Spoken(script)]
    parsed = ssml.parse(script, english=english)
    for language in parsed.languages:
        if not voice.speaks(language):
            raise _unspeakable(f'xml:lang is "{language}", but the voice {voice.id} speaks {voice.language}.')
    return parsed.passages


def plain_text(script: str) -> str:
    """The text of a script without tags, for captions. Raises ServiceError `script_unspeakable`."""
    return ssml.parse(script, english=True).plain if ssml.is_ssml(script) else script


def _is_letter_or_sign(c: str) -> bool:
    return not c.isascii() and unicodedata.category(c)[0] in "LSMC"


def _unspeakable(detail: str) -> ServiceError:
    return ServiceError("script_unspeakable", detail, param="script")
