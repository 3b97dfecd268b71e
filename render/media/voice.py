"""A voice as the speech encoder wants it, and as the film's sound: both made in one pass over the customer's file."""

import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from accounts.errors import ServiceError
from render.media.demux import audio_frames, decoding, open_source, sound_track
from render.media.whole_file import whole_file

SAMPLE_RATE = 16_000  # Hz, of wav2vec 2.0
# A header may claim 1 Hz and make one packet last for hours; no microphone is outside these.
MIN_SOURCE_RATE, MAX_SOURCE_RATE = 4_000, 400_000
# Eight channels (7.1) at 192 kHz. A lossless file of a few kilobytes can hold more of them for an hour, all silent.
MAX_SAMPLES_A_SECOND = 8 * 192_000
MAX_SOUND_RATE = 48_000  # Hz, of a film


@dataclass(frozen=True)
class Voice:
    sound: Path  # at its own rate, for the film
    path: Path  # WAV, 16 kHz mono s16
    duration_seconds: float  # by counting samples


def normalise_voice(
    source: Path, destination_wav: Path, *, max_seconds: float, param: str, sound_flac: Path | None = None
) -> Voice:
    """Decode the first sound track of any audio or video file to a 16 kHz mono s16 WAV.

    sound_flac: where to write it, too, as 16-bit FLAC with one or two channels at its own rate, at most 48 kHz. Without
    it, the source is the sound.

    What a container says of its duration is not believed. A file that breaks off midway is accepted only when all that
    is there decodes, as with WAV, mp3 and Ogg; of mp4 and FLAC a part is audio_invalid. Raises ServiceError:
    audio_invalid, audio_empty, audio_too_long.
    """
    invalid = ServiceError("audio_invalid", "The voice cannot be decoded to its end.", param=param)
    most = int(max_seconds * SAMPLE_RATE)
    samples = 0
    with ExitStack() as files:
        wav = files.enter_context(wav_writer(files.enter_context(whole_file(destination_wav))))
        sound = files.enter_context(_FlacWriter(files.enter_context(whole_file(sound_flac)))) if sound_flac else None
        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        for frame in _sound_frames(source, invalid):
            for piece in _resample(resampler, frame, invalid):
                samples += piece.samples
                if samples > most:
                    detail = f"Audio is longer than the {max_seconds:g} s that this key allows."
                    raise ServiceError("audio_too_long", detail, param=param)
                wav.writeframesraw(piece.to_ndarray().tobytes())
            if sound:
                sound.write(frame, invalid)
        if not samples:
            raise ServiceError("audio_empty", "The recording has no sound in it.", param=param)
    return Voice(sound_flac or source, destination_wav, samples / SAMPLE_RATE)


@contextmanager
def wav_writer(path: Path) -> Iterator[wave.Wave_write]:
    """A WAV file of 16 kHz mono s16 to write little-endian samples to."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        yield wav


def decode_mono(source: Path, *, rate: int, invalid: ServiceError) -> Iterator[bytes]:
    """The first sound track as blocks of mono s16 samples at `rate` Hz. Raises `invalid`."""
    resampler = AudioResampler(format="s16", layout="mono", rate=rate)
    for frame in _sound_frames(source, invalid):
        for piece in _resample(resampler, frame, invalid):
            yield piece.to_ndarray().tobytes()


class _FlacWriter:
    """Takes the frames of a recording; rate and channels are those of the first."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"})
        self._resampler: AudioResampler | None = None
        self._samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def write(self, frame: AudioFrame | None, invalid: ServiceError) -> None:
        """None: it was the last. Raises `invalid`, and OSError when the disk does not take it."""
        if self._resampler is None:
            if frame is None:
                return
            self._rate = min(frame.sample_rate, MAX_SOUND_RATE)
            layout = "stereo" if frame.layout.nb_channels > 1 else "mono"
            self._stream = self._container.add_stream(
                "flac", rate=self._rate, layout=layout, options={"flags": "+bitexact"}
            )
            self._container.start_encoding()
            size = self._stream.codec_context.frame_size
            self._resampler = AudioResampler(format="s16", layout=layout, rate=self._rate, frame_size=size)
        for piece in _resample(self._resampler, frame, invalid):
            piece.pts, piece.time_base = self._samples, Fraction(1, self._rate)
            self._samples += piece.samples
            self._container.mux(self._stream.encode(piece))
        if frame is None:
            self._container.mux(self._stream.encode(None))


def _sound_frames(source: Path, invalid: ServiceError) -> Iterator[AudioFrame | None]:
    """The frames of the first sound track, and None after the last."""
    with decoding(invalid):
        container = open_source(source)
    with container:
        stream = sound_track(container)
        if stream is None:
            raise ServiceError("audio_invalid", "The file has no sound track that can be read.", param=invalid.param)
        for frame in audio_frames(container, stream, failure=invalid):
            _check_rate(frame, invalid)
            yield frame
        yield None


def _check_rate(frame: AudioFrame, invalid: ServiceError) -> None:
    if not MIN_SOURCE_RATE <= frame.sample_rate <= MAX_SOURCE_RATE:
        raise invalid
    channels = frame.layout.nb_channels
    if channels * frame.sample_rate > MAX_SAMPLES_A_SECOND:
        detail = f"The voice has {channels} channels at {frame.sample_rate} Hz; at most 8 at 192000 Hz can be read."
        raise ServiceError("audio_invalid", detail, param=invalid.param)


def _resample(resampler: AudioResampler, frame: AudioFrame | None, invalid: ServiceError) -> list[AudioFrame]:
    with decoding(invalid):  # the track may change its rate or channels midway
        return resampler.resample(frame)
