"""The mouth's motion for a voice: how far it opens, and whether the lips are spread or rounded, frame by frame.

There are no phonemes. The level opens the mouth, the first formant tells how far for this vowel, and the second one
whether the lips are spread (ee) or rounded (oo). Hiss closes the teeth; a murmur without overtones (m, n) or a short
dip (p, b, t) closes the lips. Formants are estimated as spectral centroids relative to the speaker's own, so that no
voice needs training.
"""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.engines.draft.frame_curves import (
    STEPS_PER_SECOND,
    Curve,
    opening_per_frame,
    per_frame,
    smooth,
    spread_per_frame,
)

SAMPLE_RATE = 16000
HOP = SAMPLE_RATE // STEPS_PER_SECOND
WINDOW = 512  # 32 ms

SILENCE_DB = -58.0  # relative to full scale: silence, however quiet the rest of the recording is
SPEECH_RANGE_DB = 32.0  # from a speaker's loud vowels down to the level that just moves the mouth
RELEASE_SECONDS = 0.1  # after the end of the voice, in which the mouth closes


@dataclass(frozen=True)
class SpeechTrack:
    """One value per frame. Frames after the end of the voice are silent."""

    opening: Curve  # from 0 (closed) to 1 (as far as this speaker ever opens)
    spread: Curve  # from -1 (rounded lips) to 1 (wide lips)
    level: Curve  # from 0 (silence) to 1 (loud), slower than the mouth: for the motion of the head


def voice_seconds(path: Path) -> float:
    with wave.open(str(path)) as voice:
        return voice.getnframes() / voice.getframerate()


def speech_track(path: Path, num_frames: int) -> SpeechTrack:
    """Analyse a WAV of 16 kHz mono s16. The whole voice is read at once: 13 MB of spectrum per minute."""
    with wave.open(str(path)) as voice:
        samples = np.frombuffer(voice.readframes(voice.getnframes()), dtype="<i2").astype(np.float64) / 32768
    samples = np.pad(samples, (0, round(RELEASE_SECONDS * SAMPLE_RATE)))
    power = _spectrogram(samples)
    frequency = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)

    def energy(low: float, high: float) -> Curve:
        return power[:, (frequency >= low) & (frequency < high)].sum(axis=1) + 1e-10

    def centroid(low: float, high: float) -> Curve:
        band = (frequency >= low) & (frequency < high)
        amplitude = np.sqrt(power[:, band]) + 1e-7
        return (amplitude * frequency[band]).sum(axis=1) / amplitude.sum(axis=1)

    decibel = 10 * np.log10(energy(120, 5000))
    loud = max(float(np.percentile(decibel, 95)), SILENCE_DB + SPEECH_RANGE_DB)
    level = np.clip((decibel - (loud - SPEECH_RANGE_DB)) / (SPEECH_RANGE_DB - 4), 0, 1)
    speaking = level > 0.35

    jaw = _relative(centroid(180, 1100), speaking)  # first formant: high in "ah", low in "ee" and "oo"
    front = _relative(centroid(800, 2800), speaking)  # second formant: high in "ee", low in "oo"
    hiss = np.clip((10 * np.log10(energy(3800, 8000) / energy(200, 3000)) + 2) / 10, 0, 1)
    overtones = 10 * np.log10(energy(600, 3000) / energy(100, 500))
    usual = float(np.median(overtones[speaking])) if speaking.any() else 0.0
    murmur = np.clip((usual - overtones - 7) / 8, 0, 1) * speaking

    opening = level * np.clip(0.7 + 0.2 * jaw, 0.25, 1.1)
    opening *= (1 - 0.5 * hiss) * (1 - 0.65 * murmur) * (1 - _dips(decibel))
    spread = np.clip(0.6 * front, -1, 1) * np.clip(2 * level, 0, 1) * (1 - 0.5 * hiss)

    return SpeechTrack(
        opening=opening_per_frame(np.clip(_muscle(opening, rise=0.45, fall=0.28), 0, 1) ** 0.85, num_frames),
        spread=spread_per_frame(smooth(spread, 5.0), num_frames),
        level=per_frame(smooth(level, 20.0), num_frames),
    )


def _spectrogram(samples: Curve) -> Curve:
    """Steps x frequencies, power; a full-scale sine has 1. Step i is centred on sample i * HOP."""
    padded = np.pad(samples, WINDOW // 2)
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW)
    spectrum = np.fft.rfft(views * window, axis=1)
    return np.abs(spectrum) ** 2 / (window.sum() / 2) ** 2


def _relative(curve: Curve, speaking: NDArray[np.bool_]) -> Curve:
    """The difference from the speaker's median, in standard deviations."""
    if not speaking.any():
        return np.zeros_like(curve)
    usual = curve[speaking]
    return (curve - np.median(usual)) / (np.std(usual) + 1.0)


def _dips(decibel: Curve) -> Curve:
    """From 0 to 1: how far a step lies below the loudest of the 70 ms before and of the 70 ms after it: p, b, t."""
    reach = 7
    padded = np.pad(decibel, reach, mode="edge")
    before = np.max(np.lib.stride_tricks.sliding_window_view(padded[:-reach], reach + 1), axis=1)
    after = np.max(np.lib.stride_tricks.sliding_window_view(padded[reach:], reach + 1), axis=1)
    return np.clip((np.minimum(before, after) - decibel - 7) / 8, 0, 1)


def _muscle(curve: Curve, rise: float, fall: float) -> Curve:
    """Follows the curve with a speed for each direction: rise and fall are shares of the distance per 10 ms."""
    followed = np.empty_like(curve)
    position = 0.0
    for step, aim in enumerate(curve):
        position += (aim - position) * (rise if aim > position else fall)
        followed[step] = position
    return followed
