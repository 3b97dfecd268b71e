"""What a speech engine (text-to-speech) must do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SAMPLE_RATE = 24_000  # Hz, of everything that is spoken


class SpeechUnavailable(Exception):
    """The engine does not answer now. Its text is for staff."""


@dataclass(frozen=True)
class Voice:
    id: str  # what a request calls it
    name: str
    language: str  # BCP 47, as `en` or `pt-BR`

    def speaks(self, language: str) -> bool:
        """A voice of en-GB speaks `en`, too, and one of `en` speaks en-GB."""
        mine, wanted = self.language.lower(), language.lower()
        return mine == wanted or mine.split("-")[0] == wanted or mine == wanted.split("-")[0]


class SpeechEngine(Protocol):
    def voices(self) -> list[Voice]:
        """Known without loading anything: the web process asks, too."""
        ...

    def reads(self, character: str) -> bool:
        """Whether it has a sound for a letter or a sign; True where the engine does not tell."""
        ...

    def check(self, text: str, voice: Voice) -> None:
        """Raises ServiceError `script_unspeakable` for what can be seen without speaking."""
        ...

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        """Sound of one sentence after the other: mono s16 little-endian at `SAMPLE_RATE`.

        text: plain, in letters that it reads. The same text gives the same sound, as far as the engine can. Raises
        ServiceError `script_unspeakable`, or SpeechUnavailable.
        """
        ...
