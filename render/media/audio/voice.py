"""A voice for the engine's speech encoder and for the video's audio: both are made in one pass over the recording."""

import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.atomic_file import atomic_file
from render.media.audio.downmix import MonoDownmix
from render.media.audio.limiter import Limiter
from render.media.audio.resampling import Resampler, Samples, as_s16
from render.media.audio.source_audio import SourceAudio
from render.media.reading.frame_samples import audio_frame

SAMPLE_RATE = 16_000  # Hz, of wav2vec 2.0
MAX_AUDIO_RATE = 48_000  # Hz, of a video
NOTHING = np.zeros(0, np.int16)


@dataclass(frozen=True)
class Voice:
    audio: Path  # at its own rate, for the video
    path: Path  # WAV, 16 kHz mono s16, for the engine
    duration_seconds: float  # by counting samples
    lost_seconds: float = 0.0  # of the source, that could not be read


def normalise_voice(
    source: Path, destination_wav: Path, *, max_seconds: float, param: str, audio_flac: Path | None = None
) -> Voice:
    """Decode the audio track that players choose, of any audio or video file, to a 16 kHz mono s16 WAV.

    audio_flac: where to write it as well, as 16-bit FLAC with one or two channels at its own rate, at most 48 kHz.
    Without it, `Voice.audio` is the source. Both files have the same pauses, also those that exist only as time stamps.

    The duration in the container's header is ignored. Raises ServiceError: audio_invalid, also when more is missing
    than `render.media.reading.damage` allows; audio_empty; audio_too_long.
    """
    invalid = ServiceError("audio_invalid", "The voice cannot be decoded to its end.", param=param)
    detail = f"The audio is longer than the {max_seconds:g} s that this key allows."
    too_long = ServiceError("audio_too_long", detail, param=param)
    max_samples = int(max_seconds * SAMPLE_RATE)
    samples = 0
    recording = SourceAudio(source, invalid=invalid, too_long=too_long, max_seconds=max_seconds)
    with ExitStack() as files:
        wav = files.enter_context(wav_writer(files.enter_context(atomic_file(destination_wav))))
        flac = files.enter_context(_FlacWriter(files.enter_context(atomic_file(audio_flac)))) if audio_flac else None
        voice = _MonoVoice(SAMPLE_RATE, invalid)
        for frame in chain(recording.frames(), [None]):
            block = voice.push(frame)
            if block.size:
                samples += block.size
                if samples > max_samples:
                    raise too_long
                wav.writeframesraw(block.astype("<i2").tobytes())
            if flac:
                flac.write(frame, invalid)
        if not samples:
            raise ServiceError("audio_empty", "The recording contains no audio.", param=param)
    return Voice(audio_flac or source, destination_wav, samples / SAMPLE_RATE, recording.lost_seconds)


@contextmanager
def wav_writer(path: Path) -> Iterator[wave.Wave_write]:
    """Open a WAV file of 16 kHz mono s16, to write little-endian samples to it."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        yield wav


def decode_mono(source: Path, *, rate: int, invalid: ServiceError) -> Iterator[bytes]:
    """Yield the audio track as blocks of mono s16 samples at `rate` Hz. Raises `invalid`."""
    voice = _MonoVoice(rate, invalid)
    for frame in chain(SourceAudio(source, invalid=invalid).frames(), [None]):
        yield voice.push(frame).tobytes()


class _MonoVoice:
    """Mixes a recording to mono. Takes its frames, and None after the last."""

    def __init__(self, rate: int, invalid: ServiceError) -> None:
        self._resampling = Resampler(rate, None, invalid)
        self._mono, self._limiter = MonoDownmix(rate), Limiter()

    def push(self, frame: AudioFrame | None) -> NDArray[np.int16]:
        """Return the samples that are ready."""
        mixed = [self._mono.push(layout, samples) for layout, samples in self._resampling.push(frame)]
        if frame is None:
            mixed.append(self._mono.flush())
        ready = [self._limiter.push(samples) for samples in mixed]
        if frame is None:
            ready.append(self._limiter.flush())
        if not ready:  # as for most frames, which are held back until there are some
            return NOTHING
        mono: NDArray[np.int16] = as_s16(np.concatenate(ready, axis=1))[0]
        return mono


class _FlacWriter:
    """Writes a recording as FLAC. Takes its frames; rate and channels are those of the first."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"})
        self._resampling: Resampler | None = None
        self._limiter = Limiter()
        self._held: Samples = np.zeros((1, 0), np.float32)
        self._samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def write(self, frame: AudioFrame | None, invalid: ServiceError) -> None:
        """None: that was the last frame. Raises `invalid`, or OSError when the disk is full."""
        if self._resampling is None:
            if frame is None:
                return
            self._begin(frame, invalid)
        assert self._resampling is not None
        for _, samples in self._resampling.push(frame):
            self._held = np.concatenate([self._held, self._limiter.push(samples)], axis=1)
        if frame is None:
            self._held = np.concatenate([self._held, self._limiter.flush()], axis=1)
        while self._held.shape[1] >= self._size or (frame is None and self._held.shape[1]):
            self._encode(self._held[:, : self._size])
            self._held = self._held[:, self._size :]
        if frame is None:
            self._container.mux(self._stream.encode(None))

    def _begin(self, first: AudioFrame, invalid: ServiceError) -> None:
        self._rate = min(first.sample_rate, MAX_AUDIO_RATE)
        self._layout = "stereo" if first.layout.nb_channels > 1 else "mono"
        self._stream = self._container.add_stream(
            "flac", rate=self._rate, layout=self._layout, options={"flags": "+bitexact"}
        )
        self._container.start_encoding()
        self._size = self._stream.codec_context.frame_size
        self._held = np.zeros((self._stream.layout.nb_channels, 0), np.float32)
        self._resampling = Resampler(self._rate, self._layout, invalid)

    def _encode(self, samples: Samples) -> None:
        interleaved = as_s16(samples).T.reshape(1, -1)
        frame = audio_frame(
            np.ascontiguousarray(interleaved),
            sample_format="s16",
            layout=self._layout,
            rate=self._rate,
            start=self._samples,
        )
        self._samples += samples.shape[1]
        self._container.mux(self._stream.encode(frame))
