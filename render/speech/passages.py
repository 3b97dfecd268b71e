"""What a script is made of, as it is spoken: words, and pauses between them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spoken:
    text: str  # sentences, as a speech engine takes them


@dataclass(frozen=True)
class Pause:
    seconds: float  # of silence


Passage = Spoken | Pause
