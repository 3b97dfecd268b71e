"""English from hibari-tts: a small model on the CPU, whose voice lies inside its package."""

import logging
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from accounts.errors import ServiceError
from render.speech.base import Voice
from render.speech.splitting import check_words, pieces

logger = logging.getLogger(__name__)

SHOWN_TEXT = 60  # characters of a part that cannot be spoken
SIGNS = "°¢§¶±×÷©→←²³$£€¥₹₩"  # beside the letters and ASCII: that it has a word for, or leaves out as it should
LONGEST = 300  # characters in one pass of the model, whose memory and time grow faster than the text


class HibariEngine:
    def voices(self) -> list[Voice]:
        return [Voice("heart", "Heart", "en")]

    def reads(self, character: str) -> bool:
        """What it does not read it leaves out, without a word of warning."""
        if character.isascii() or character in SIGNS:
            return True
        return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")

    def check(self, text: str, voice: Voice) -> None:
        if not any(c.isalnum() for c in text):
            raise ServiceError("script_unspeakable", "There is no word in the script.", param="script")
        check_words(text, voice.id)

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        model = _model(voice.id)
        for piece in pieces(model.split_sentences(text), longest=LONGEST):
            for samples in _spoken(model, piece):
                yield (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


@lru_cache(maxsize=1)
def _model(voice_id: str) -> Any:
    """Kept, as it takes a second to load, and a script with pauses is spoken in many parts."""
    from hibari import Hibari  # It loads ONNX Runtime, which only the worker needs.

    return Hibari(voice=voice_id)


def _spoken(model: Any, text: str) -> list[Any]:
    """Raises ServiceError `script_unspeakable` where the text makes the model's code fail: it would fail again."""
    try:
        return list(model.stream(text, seed=0))
    except (OSError, MemoryError):
        raise  # This machine's fault.
    except Exception as error:
        logger.warning("The voice has failed at a script", exc_info=True)
        detail = f"The voice cannot read this part of the script: {text[:SHOWN_TEXT]}"
        raise ServiceError("script_unspeakable", detail, param="script") from error
