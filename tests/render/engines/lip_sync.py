"""How well the lips of an encoded video follow a voice: the face is found anew in every frame.

The aperture of the re-detected mouth is correlated with the voice's level at several lags. An upper bound for any mouth
that also forms vowels is well below 1: m, s and oo are loud with the mouth almost shut.
"""

import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.engines.faces import FaceFinder

UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14
LEFT_CORNER, RIGHT_CORNER = 61, 291


def mouth_apertures(video: Path, speaker: int = 0) -> NDArray[np.float64]:
    """Per frame: the gap between the lips over the mouth's width. `speaker` counts the faces from the left."""
    finder = FaceFinder()
    face = None
    apertures = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            if face is None:
                face = sorted(finder.find(picture), key=lambda face: float(face.centre[0]))[speaker]
            face = finder.follow(picture, face)
            gap = np.linalg.norm(face.points[LOWER_INNER_LIP] - face.points[UPPER_INNER_LIP])
            width = np.linalg.norm(face.points[RIGHT_CORNER] - face.points[LEFT_CORNER])
            apertures.append(float(gap / width))
    return np.array(apertures)


def voice_levels(voice: Path, num_frames: int) -> NDArray[np.float64]:
    """Per frame: root mean square in decibels, from -80."""
    with wave.open(str(voice)) as recording:
        rate = recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype="<i2") / 32768
    edges = [round(index * rate / FPS) for index in range(num_frames + 1)]
    power = [np.mean(samples[start:stop] ** 2) for start, stop in zip(edges, edges[1:], strict=False)]
    return 20 * np.log10(1e-4 + np.sqrt(power))


def lip_sync(video: Path, voice: Path, speaker: int = 0, max_lag: int = 4) -> dict[int, float]:
    """Correlation by lag in frames; a positive lag is a mouth that comes late."""
    apertures = mouth_apertures(video, speaker)
    levels = voice_levels(voice, len(apertures))
    correlations = {}
    for lag in range(-max_lag, max_lag + 1):
        mouth = apertures[max(lag, 0) : len(apertures) + min(lag, 0)]
        heard = levels[max(-lag, 0) : len(levels) - max(lag, 0)]
        correlations[lag] = float(np.corrcoef(mouth, heard)[0, 1])
    return correlations
