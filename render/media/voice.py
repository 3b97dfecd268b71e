"""A voice as the speech encoder wants it: 16 kHz mono, length known to the sample."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from av.audio.resampler import AudioResampler

from accounts.errors import ServiceError
from render.media.demux import DECODE_ERRORS, audio_frames, open_source, sound_track
from render.media.whole_file import whole_file

SAMPLE_RATE = 16_000  # Hz, of wav2vec 2.0
# A header may claim 1 Hz and make one packet last for hours; no microphone is outside these.
MIN_SOURCE_RATE, MAX_SOURCE_RATE = 4_000, 400_000


@dataclass(frozen=True)
class Voice:
    source: Path  # the file as it came, for the sound track
    path: Path  # WAV, 16 kHz mono s16
    duration_seconds: float  # by counting samples


def normalise_voice(source: Path, destination_wav: Path, *, max_seconds: float, param: str) -> Voice:
    """Decode the first sound track of any audio or video file to a 16 kHz mono s16 WAV.

    What a container says of its duration is not believed. A file that breaks off midway is accepted only when all that
    is there decodes, as with WAV, mp3 and Ogg; of mp4 and FLAC a part is audio_invalid. Raises ServiceError:
    audio_invalid, audio_empty, audio_too_long.
    """
    invalid = ServiceError("audio_invalid", "The voice cannot be decoded to its end.", param=param)
    most = int(max_seconds * SAMPLE_RATE)
    samples = 0
    with whole_file(destination_wav) as partial, wav_writer(partial) as wav:
        for block in decode_mono(source, rate=SAMPLE_RATE, invalid=invalid):
            samples += len(block) // 2
            if samples > most:
                detail = f"Audio is longer than the {max_seconds:g} s that this key allows."
                raise ServiceError("audio_too_long", detail, param=param)
            wav.writeframesraw(block)
        if not samples:
            raise ServiceError("audio_empty", "The recording has no sound in it.", param=param)
    return Voice(source, destination_wav, samples / SAMPLE_RATE)


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
    try:
        container = open_source(source)
    except DECODE_ERRORS as error:
        raise invalid from error
    with container:
        stream = sound_track(container)
        if stream is None:
            raise ServiceError("audio_invalid", "The file has no sound track that can be read.", param=invalid.param)
        resampler = AudioResampler(format="s16", layout="mono", rate=rate)
        for frame in audio_frames(container, stream, failure=invalid):
            if not MIN_SOURCE_RATE <= frame.sample_rate <= MAX_SOURCE_RATE:
                raise invalid
            try:
                resampled = resampler.resample(frame)
            except DECODE_ERRORS as error:  # the track changed its rate or channels midway
                raise invalid from error
            for piece in resampled:
                yield piece.to_ndarray().tobytes()
        for piece in resampler.resample(None):
            yield piece.to_ndarray().tobytes()
