"""A script as a voice will speak it: here it is decided what is said, what is silence and what is left out."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from accounts.errors import ServiceError
from render.speech import ssml
from render.speech.base import Voice
from render.speech.passages import Passage, Pause, Spoken
from render.speech.text_normalisation import readable

# Of the letters, so many may be left out, as a name in another script: with more, the text is no longer what was meant.
MOST_LEFT_OUT_SHARE = 0.1
MOST_LEFT_OUT = 100
SHOWN = 5  # of the characters that cannot be spoken


@dataclass(frozen=True)
class Reading:
    passages: list[Passage]
    left_out: list[str]  # the different characters that the voice cannot speak

    @property
    def pause_seconds(self) -> float:
        return sum(passage.seconds for passage in self.passages if isinstance(passage, Pause))

    @property
    def text(self) -> str:
        """All that is said, for a speech engine's own checks."""
        return "\n".join(passage.text for passage in self.passages if isinstance(passage, Spoken))


def read(script: str, voice: Voice, reads: Callable[[str], bool]) -> Reading:
    """reads: whether the voice has a sound for a letter or a sign.

    Raises ServiceError `script_unspeakable` for SSML that is not understood, for too many letters that cannot be
    spoken, and where there is no word.
    """
    english = voice.speaks("en")
    said: list[Passage] = [Spoken(script)]
    if ssml.is_ssml(script):
        parsed = ssml.parse(script, english=english)
        for language in parsed.languages:
            if not voice.speaks(language):
                raise _unspeakable(f'xml:lang is "{language}", and the voice {voice.id} speaks {voice.language}.')
        said = parsed.passages
    passages: list[Passage] = []
    unspoken: list[str] = []
    letters = 0
    for passage in said:
        if isinstance(passage, Pause):
            passages.append(passage)
            continue
        text = readable(passage.text, english=english)
        letters += sum(c.isalpha() for c in text)
        if not_read := {c for c in set(text) if _is_letter_or_sign(c) and not reads(c)}:
            unspoken += [c for c in text if c in not_read]
            text = "".join(" " if c in not_read else c for c in text)
        if any(c.isalnum() for c in text):
            passages.append(Spoken(text.strip()))
    lost = sum(c.isalpha() for c in unspoken)
    if lost > min(MOST_LEFT_OUT_SHARE * letters, MOST_LEFT_OUT):
        shown = " ".join(dict.fromkeys(c for c in unspoken if c.isalpha()))[: 2 * SHOWN].strip()
        spoken = "English" if english else voice.language
        raise _unspeakable(
            f"The voice {voice.id} speaks {spoken} and cannot read: {shown} ({lost} of {letters} letters)."
        )
    if not any(isinstance(passage, Spoken) for passage in passages):
        raise _unspeakable("There is no word in the script.")
    return Reading(passages, list(dict.fromkeys(unspoken)))


def plain_text(script: str) -> str:
    """What stands in it to be read, without tags: for captions. Raises ServiceError `script_unspeakable`."""
    return ssml.parse(script, english=True).plain if ssml.is_ssml(script) else script


def _is_letter_or_sign(c: str) -> bool:
    return not c.isascii() and unicodedata.category(c)[0] in "LSMC"


def _unspeakable(detail: str) -> ServiceError:
    return ServiceError("script_unspeakable", detail, param="script")
