"""English from hibari-tts: a small model on the CPU, whose voice lies inside its package."""

import unicodedata
from collections.abc import Iterator

import numpy as np

from accounts.errors import ServiceError
from render.speech.base import Voice

SHOWN = 5  # of the characters that cannot be spoken


class HibariEngine:
    def voices(self) -> list[Voice]:
        return [Voice("heart", "Heart", "en")]

    def check(self, text: str, voice: Voice) -> None:
        """Other scripts' letters would be left out or spelled without a word of warning."""
        unknown = [c for c in dict.fromkeys(text) if c.isalpha() and not unicodedata.name(c, "").startswith("LATIN")]
        if unknown:
            shown = " ".join(unknown[:SHOWN])
            raise ServiceError(
                "script_unspeakable", f"The voice {voice.id} speaks English and cannot read: {shown}", param="script"
            )
        if not any(c.isalnum() for c in text):
            raise ServiceError("script_unspeakable", "There is no word in the script.", param="script")

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        from hibari import Hibari  # It loads ONNX Runtime, which only the worker needs.

        for samples in Hibari(voice=voice.id).stream(text, seed=0):
            yield (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
