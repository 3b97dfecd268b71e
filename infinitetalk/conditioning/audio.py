"""Voices for the speech encoder: 16 kHz, one channel, equal loudness, each placed in time."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pyloudnorm
import soxr
from av.container import InputContainer
from numpy.typing import NDArray

from infinitetalk.errors import InvalidInput

SAMPLE_RATE = 16_000  # Hz
LOUDNESS = -23.0  # LUFS, EBU R 128
SHORTEST_MEASURED = 0.4  # seconds: one block of ITU-R BS.1770

Waveform = NDArray[np.float32]
AudioOrder = Literal["left_right", "right_left", "meanwhile"]

# ValueError comes from PyAV's own checks, and from audio whose format changes within the file.
DECODE_ERRORS = (av.error.FFmpegError, OSError, ValueError)


def open_media(path: Path) -> InputContainer:
    """Open any audio or video file. Raises one of DECODE_ERRORS."""
    # Only local files, so that a playlist cannot open URLs. Old tags need not be UTF-8.
    return av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")


def load_voice(path: Path) -> Waveform:
    """The first audio track of any audio or video file, its channels averaged: samples at 16 kHz, about -1 to 1.

    Raises InvalidInput `audio_invalid` when it cannot be decoded to its end, `audio_empty` when it has no sample.
    """
    try:
        with open_media(path) as container:
            if not container.streams.audio:
                raise InvalidInput("audio_invalid", f"{path.name} has no audio track.")
            stream = container.streams.audio[0]
            rate = stream.codec_context.sample_rate
            planar = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
            blocks = [
                piece.to_ndarray().mean(axis=0, dtype=np.float32)
                for frame in chain(container.decode(stream), [None])
                for piece in planar.resample(frame)
            ]
    except DECODE_ERRORS as error:
        raise InvalidInput("audio_invalid", f"{path.name} cannot be decoded.") from error
    if not any(len(block) for block in blocks):
        raise InvalidInput("audio_empty", f"{path.name} has no audio samples.")
    mono = np.concatenate(blocks)
    if rate != SAMPLE_RATE:
        length = -(-len(mono) * SAMPLE_RATE // rate)
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")[:length]
        mono = np.pad(mono, (0, length - len(mono)))
    if not np.isfinite(mono).all():
        raise InvalidInput("audio_invalid", f"{path.name} has samples that are NaN or infinite.")
    return np.ascontiguousarray(mono, dtype=np.float32)


def normalise_loudness(voice: Waveform) -> Waveform:
    """Bring a voice to -23 LUFS. Silence and voices too short to be measured (0.4 s) are returned unchanged."""
    if len(voice) < SHORTEST_MEASURED * SAMPLE_RATE:
        return voice
    loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(voice.astype(np.float64))
    if not abs(loudness) <= 100:  # The loudness of silence is minus infinity.
        return voice
    normalised: Waveform = (voice * 10 ** ((LOUDNESS - loudness) / 20)).astype(np.float32)
    return normalised


def arrange_voices(voices: Sequence[Waveform], order: AudioOrder = "meanwhile") -> list[Waveform]:
    """Normalise each voice and place it in the video's time; all are padded with silence to the same length.

    The first voice is the left speaker's. `left_right`: the left speaks first; `right_left`: the right; `meanwhile`:
    both at once. Raises InvalidInput `speakers_invalid` for more than two voices or none.
    """
    if len(voices) not in (1, 2):
        raise InvalidInput("speakers_invalid", "One or two voices can be arranged.")
    normalised = [normalise_loudness(voice) for voice in voices]
    if len(normalised) == 1:
        return normalised
    left, right = normalised
    starts = {"left_right": (0, len(left)), "right_left": (len(right), 0), "meanwhile": (0, 0)}[order]
    length = max(starts[0] + len(left), starts[1] + len(right))
    return [
        np.pad(voice, (start, length - start - len(voice))) for voice, start in zip((left, right), starts, strict=True)
    ]
