"""The audio of a video: voices at their own quality, each placed in time, added up."""

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

from accounts.errors import ServiceError
from render.engines.base import FPS
from render.media.audio.resampling import Samples
from render.media.reading.damage import Damage
from render.media.reading.decoding import audio_frames
from render.media.reading.opening import audio_track, decode_errors_as, open_source

PLAIN_SUM_LEVEL = 0.8  # of full scale: below it, a mix is the plain sum


@dataclass(frozen=True)
class AudioMix:
    rate: int  # Hz; a multiple of FPS
    layout: str  # mono or stereo
    blocks: Iterator[Samples]  # rate / FPS samples each, one per video frame; after the end, silence without end


def open_mix(voices: Sequence[tuple[Path, float]], files: ExitStack) -> AudioMix:
    """Mix `voices`: pairs of a file and the second at which it starts. The files stay open as long as `files`.

    Decodes block by block, so memory does not grow with the length. Raises ServiceError audio_invalid, also while the
    blocks are read.
    """
    failure = ServiceError("audio_invalid", "The voice cannot be decoded to its end.")
    sources: list[tuple[InputContainer, AudioStream]] = []
    for path, _ in voices:
        with decode_errors_as(failure):
            container = files.enter_context(open_source(path))
        stream = audio_track(container)
        if stream is None:
            raise failure
        sources.append((container, stream))
    contexts = [stream.codec_context for _, stream in sources]
    # Both rates play everywhere; recordings at 11, 22 or 44 kHz are raised by a whole factor.
    rate = 44_100 if all(44_100 % context.sample_rate == 0 for context in contexts) else 48_000
    layout = "stereo" if any(context.channels > 1 for context in contexts) else "mono"
    size = rate // FPS
    blocks_of_voices = []
    for (container, stream), (path, start_seconds) in zip(sources, voices, strict=True):
        frames = audio_frames(container, stream, source=path, damage=Damage(failure))
        resampler = AudioResampler(format="fltp", layout=layout, rate=rate)
        silence: Samples = np.zeros((resampler.layout.nb_channels, size), np.float32)
        samples = chain(_silence(silence, round(start_seconds * rate)), _resampled(frames, resampler, failure))
        blocks_of_voices.append(chain(_in_blocks(samples, size), repeat(silence)))
    blocks = blocks_of_voices[0] if len(blocks_of_voices) == 1 else map(_add, *blocks_of_voices)
    return AudioMix(rate, layout, blocks)


def _silence(block: Samples, samples: int) -> Iterator[Samples]:
    """This many samples of silence. block: of silence, as long as a video frame."""
    size = block.shape[1]
    yield from repeat(block, samples // size)
    yield block[:, : samples % size]


def _resampled(frames: Iterator[AudioFrame], resampler: AudioResampler, failure: ServiceError) -> Iterator[Samples]:
    for frame in chain(frames, [None]):  # None: the resampler gives out the rest
        with decode_errors_as(failure):
            resampled = resampler.resample(frame)
        for piece in resampled:
            yield np.asarray(piece.to_ndarray(), np.float32)


def _in_blocks(pieces: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Pieces of any length as blocks of `size` samples; the last block is filled with silence."""
    rest = next(pieces)
    for piece in pieces:
        rest = np.concatenate([rest, piece], axis=1)
        while rest.shape[1] >= size:
            yield rest[:, :size]
            rest = rest[:, size:]
    yield np.pad(rest, ((0, 0), (0, size - rest.shape[1])))


def _add(*blocks: Samples) -> Samples:
    """The sum, bent smoothly towards full scale where two loud voices meet, so that it never clips."""
    total: Samples = np.sum(blocks, axis=0, dtype=np.float32)
    room = 1 - PLAIN_SUM_LEVEL
    level = np.abs(total)
    bent = np.sign(total) * (PLAIN_SUM_LEVEL + room * np.tanh((level - PLAIN_SUM_LEVEL) / room))
    return np.where(level > PLAIN_SUM_LEVEL, bent, total).astype(np.float32)
