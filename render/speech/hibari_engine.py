"""English speech from hibari-tts: a small model on the CPU, whose voice is part of its package."""

import logging
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from accounts.errors import ServiceError
from render.speech.base import Voice
from render.speech.splitting import check_words, split_sentences

logger = logging.getLogger(__name__)

SHOWN_TEXT = 60  # characters, in a message, of a part that cannot be spoken
SIGNS = "°¢§¶±×÷©→←²³$£€¥₹₩"  # not ASCII: the model has a word for each, or is right to leave it out
MAX_CHARACTERS = 300  # in one pass of the model, whose memory and time grow faster than the text


class HibariEngine:
    def voices(self) -> list[Voice]:
        return [Voice("heart", "Heart", "en")]

    def can_speak(self, character: str) -> bool:
        """The model leaves out all other characters without a warning."""
        if character.isascii() or character in SIGNS:
            return True
        return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")

    def check(self, text: str, voice: Voice) -> None:
        if not any(c.isalnum() for c in text):
            raise ServiceError("script_unspeakable", "The script has no words.", param="script")
        check_words(text, voice.id)

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        model = _model(voice.id)
        for sentence in split_sentences(model.split_sentences(text), max_characters=MAX_CHARACTERS):
            for samples in _speak(model, sentence):
                yield (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


@lru_cache(maxsize=1)
def _model(voice_id: str) -> Any:
    """Cached: it takes a second to load, and a script with pauses is spoken in many parts."""
    from hibari import Hibari  # loads ONNX Runtime, which only the worker needs

    return Hibari(voice=voice_id)


def _speak(model: Any, text: str) -> list[Any]:
    """Raises ServiceError `script_unspeakable` when the text makes the model's code fail: it would fail again."""
    try:
        return list(model.stream(text, seed=0))
    except (OSError, MemoryError):
        raise  # the machine's fault, not the script's
    except Exception as error:
        logger.warning("The voice failed to speak a script", exc_info=True)
        detail = f"The voice cannot read this part of the script: {text[:SHOWN_TEXT]}"
        raise ServiceError("script_unspeakable", detail, param="script") from error
