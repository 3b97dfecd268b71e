"""A portrait and a spoken sentence for the demo. Both come with installed packages: nothing is downloaded."""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

SENTENCE = (
    "Hello, and welcome. One picture and one voice are all it takes. "
    "What you see here was made by a computer, on an ordinary processor, in a few seconds."
)
HEAD_AND_SHOULDERS = (60, 0, 384, 324)  # left, top, right, bottom, in pixels of the 512 x 512 portrait
VOICE_SAMPLE_RATE = 24_000  # Hz, of hibari-tts


def write_portrait(path: Path) -> Path:
    """Save the public-domain portrait in scikit-image (Eileen Collins, NASA), cropped to head and shoulders."""
    from skimage import data

    portrait = data.astronaut()
    image = Image.fromarray(portrait).crop(HEAD_AND_SHOULDERS)
    image.resize((640, 640), Image.Resampling.LANCZOS).save(path, quality=95)
    return path


def write_speech(path: Path, text: str = SENTENCE) -> Path:
    """Save `text`, spoken by the English voice in hibari-tts, as a WAV file."""
    from hibari import Hibari

    samples = np.clip(np.asarray(Hibari()(text, seed=0)), -1, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(VOICE_SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
