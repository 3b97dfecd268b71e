"""A portrait and a sentence to show the service with: both come inside packages, nothing is downloaded."""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

SENTENCE = (
    "Hello, and welcome. One picture and one voice are all it takes. "
    "What you see here was made by a computer, on an ordinary processor, in a few seconds."
)
HEAD_AND_SHOULDERS = (60, 0, 384, 324)  # left, top, right, bottom in the portrait's 512 x 512 pixels
VOICE_SAMPLE_RATE = 24_000  # Hz, of hibari-tts


def write_portrait(path: Path) -> Path:
    """Save the public-domain portrait that scikit-image ships (NASA, Eileen Collins), cropped to head and shoulders."""
    from skimage import data

    portrait = data.astronaut()
    picture = Image.fromarray(portrait).crop(HEAD_AND_SHOULDERS)
    picture.resize((640, 640), Image.Resampling.LANCZOS).save(path, quality=95)
    return path


def write_speech(path: Path, text: str = SENTENCE) -> Path:
    """Speak `text` to a WAV file with the voice inside hibari-tts."""
    from hibari import Hibari

    samples = np.clip(np.asarray(Hibari()(text, seed=0)), -1, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(VOICE_SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
