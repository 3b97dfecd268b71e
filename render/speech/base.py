"""The interface of a speech engine (text-to-speech), and its voices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SAMPLE_RATE = 24_000  # Hz, of all speech


class SpeechUnavailable(Exception):
    """The engine does not answer now. The message is for staff."""


@dataclass(frozen=True)
class Voice:
    id: str  # its name in requests
    name: str  # to show to people
    language: str  # BCP 47, such as `en` or `pt-BR`

    def speaks(self, language: str) -> bool:
        """A voice of en-GB speaks `en`, too, and a voice of `en` speaks en-GB."""
        own, other = self.language.lower(), language.lower()
        return own == other or own.split("-")[0] == other or own == other.split("-")[0]


class SpeechEngine(Protocol):
    def voices(self) -> list[Voice]:
        """The preferred one first. Loads no model: the web process calls it, too."""
        ...

    def can_speak(self, character: str) -> bool:
        """Whether the engine can pronounce a letter or a sign; True if that is not known."""
        ...

    def check(self, text: str, voice: Voice) -> None:
        """Raise ServiceError `script_unspeakable` for what can be seen without speaking the text."""
        ...

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        """Yield the speech, one sentence after the other: mono s16 little-endian samples at `SAMPLE_RATE`.

        text: plain, in characters that it can speak. The same text gives the same speech, as far as the engine can.
        Raises ServiceError `script_unspeakable`, or SpeechUnavailable.
        """
        ...
