"""The sound of a film: voices at their own quality, each placed in time, summed."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.engines.base import FPS
from render.media.reading.damage import Damage
from render.media.reading.demux import audio_frames, decoding, open_source, sound_track

LIMIT_FROM = 0.8  # of full scale: up to here, a mix is the plain sum


@dataclass(frozen=True)
class SoundMix:
    rate: int  # Hz; a multiple of FPS
    layout: str  # mono or stereo
    blocks: Iterator[NDArray[np.float32]]  # channels x rate / FPS, one per video frame; silence without end at the end


def open_mix(sound: Sequence[tuple[Path, float]], files: ExitStack) -> SoundMix:
    """Mix `sound`, pairs of a file and the second at which it starts. The files stay open as long as `files`.

    Decodes block by block, so memory does not grow with the length. Raises ServiceError audio_invalid, also while the
    blocks are read.
    """
    failure = ServiceError("audio_invalid", "The voice cannot be decoded to its end.")
    sources: list[tuple[InputContainer, AudioStream]] = []
    for path, _ in sound:
        with decoding(failure):
            container = files.enter_context(open_source(path))
        stream = sound_track(container)
        if stream is None:
            raise failure
        sources.append((container, stream))
    contexts = [stream.codec_context for _, stream in sources]
    # Both rates play everywhere; recordings at 11, 22 or 44 kHz are brought up by a whole factor.
    rate = 44_100 if all(44_100 % context.sample_rate == 0 for context in contexts) else 48_000
    layout = "stereo" if any(context.channels > 1 for context in contexts) else "mono"
    size = rate // FPS
    voices = []
    for (container, stream), (path, start_seconds) in zip(sources, sound, strict=True):
        frames = audio_frames(container, stream, source=path, damage=Damage(failure))
        resampler = AudioResampler(format="fltp", layout=layout, rate=rate)
        silence: NDArray[np.float32] = np.zeros((resampler.layout.nb_channels, size), np.float32)
        pieces = chain(_split(silence, round(start_seconds * rate)), _resampled(frames, resampler, failure))
        voices.append(chain(_cut(pieces, size), repeat(silence)))
    return SoundMix(rate, layout, voices[0] if len(voices) == 1 else map(_add, *voices))


def _split(silence: NDArray[np.float32], samples: int) -> Iterator[NDArray[np.float32]]:
    size = silence.shape[1]
    yield from repeat(silence, samples // size)
    yield silence[:, : samples % size]


def _resampled(
    frames: Iterator[AudioFrame], resampler: AudioResampler, failure: ServiceError
) -> Iterator[NDArray[np.float32]]:
    for frame in chain(frames, [None]):
        with decoding(failure):
            pieces = resampler.resample(frame)
        for piece in pieces:
            yield np.asarray(piece.to_ndarray(), np.float32)


def _cut(pieces: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Pieces of any length to blocks of `size`; the last one is filled with silence."""
    rest = next(pieces)
    for piece in pieces:
        rest = np.concatenate([rest, piece], axis=1)
        while rest.shape[1] >= size:
            yield rest[:, :size]
            rest = rest[:, size:]
    yield np.pad(rest, ((0, 0), (0, size - rest.shape[1])))


def _add(*voices: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum, bent smoothly towards full scale where two loud voices meet, so that it never clips."""
    total: NDArray[np.float32] = np.sum(voices, axis=0, dtype=np.float32)
    room = 1 - LIMIT_FROM
    level = np.abs(total)
    bent = np.sign(total) * (LIMIT_FROM + room * np.tanh((level - LIMIT_FROM) / room))
    return np.where(level > LIMIT_FROM, bent, total).astype(np.float32)
