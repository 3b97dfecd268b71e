"""The parts of a spoken script: words, and pauses between them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spoken:
    text: str  # sentences for a speech engine


@dataclass(frozen=True)
class Pause:
    seconds: float  # of silence


Passage = Spoken | Pause
