"""The sound of a customer's file as players play it: all its parts, pauses filled with silence, damage counted."""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from av.audio.frame import AudioFrame
from av.container import InputContainer

from accounts.errors import ServiceError
from render.media.audio.audible import Audible
from render.media.containers.joined_files import Stretches, parts
from render.media.reading.damage import BYTE_STREAMS, Damage
from render.media.reading.demux import audio_frames, decoding, open_source, sound_track
from render.media.reading.frame_times import start_seconds
from render.media.reading.gaps import SoundGaps

# A header may claim 1 Hz and make one packet last for hours; no microphone is outside these.
MIN_SOURCE_RATE, MAX_SOURCE_RATE = 4_000, 400_000
# Eight channels (7.1) at 192 kHz. A few kilobytes, packed without loss, can hold an hour of silence in more channels.
MAX_SAMPLES_A_SECOND = 8 * 192_000
LONGEST_SECONDS = 3600.0  # of a sound that is our own


class SoundSource:
    """Read `frames` to their end; then `lost_seconds` tells how much was missing.

    Raises ServiceError: `invalid` when nothing can be decoded, or with figures when too much is missing; `too_long`
    before it makes a silence that would be longer than `longest_seconds` together with what came before.
    """

    def __init__(
        self,
        source: Path,
        *,
        invalid: ServiceError,
        too_long: ServiceError | None = None,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._source = source
        self._invalid, self._too_long = invalid, too_long or invalid
        self._longest_seconds = longest_seconds
        self._seconds = 0.0  # that were given out
        self._damage, self._audible = Damage(invalid), Audible()
        self.lost_seconds = 0.0

    def frames(self) -> Iterator[AudioFrame]:
        """Of any format, which may change from one to the next."""
        for number, part in enumerate(parts(self._source)):
            with part if isinstance(part, Stretches) else nullcontext():
                try:
                    with decoding(self._invalid):
                        container = open_source(part)
                except ServiceError:
                    if number == 0:
                        raise
                    continue  # Something that is no sound was put behind it.
                if isinstance(part, Stretches):
                    self._damage.skipped(part.junk_bytes)
                with container:
                    yield from self._part(container, part)
        if self._seconds or self._damage.is_noticed:
            self.lost_seconds = self._damage.settle()

    def _part(self, container: InputContainer, part: Path | Stretches) -> Iterator[AudioFrame]:
        stream = sound_track(container)
        if stream is None:
            detail = "The file has no sound track that can be read."
            raise ServiceError("audio_invalid", detail, param=self._invalid.param)
        gaps = SoundGaps(container.format.name, start_seconds(container))
        damage = self._damage
        frames = audio_frames(container, stream, source=part, damage=damage)
        for frame in _rate_corrected(frames) if container.format.name in BYTE_STREAMS else frames:
            self._check_rate(frame)
            is_damaged, silent = damage.is_noticed, 0.0
            for silence in gaps.fill(frame, is_damaged=is_damaged, check=self._check_gap):
                silent += silence.samples / silence.sample_rate
                yield silence
            seconds = frame.samples / frame.sample_rate
            damage.read_seconds += seconds + (silent if gaps.are_pauses and not is_damaged else 0)
            self._seconds += seconds + silent
            yield self._audible.frame(frame)

    def _check_gap(self, seconds: float) -> None:
        if seconds and self._seconds + seconds > self._longest_seconds:
            raise self._too_long

    def _check_rate(self, frame: AudioFrame) -> None:
        if not MIN_SOURCE_RATE <= frame.sample_rate <= MAX_SOURCE_RATE:
            raise self._invalid
        channels = frame.layout.nb_channels
        if channels * frame.sample_rate > MAX_SAMPLES_A_SECOND:
            detail = f"The voice has {channels} channels at {frame.sample_rate} Hz; at most 8 at 192000 Hz can be read."
            raise ServiceError("audio_invalid", detail, param=self._invalid.param)


def _rate_corrected(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The first frame of joined pieces may have the rate of the last piece that FFmpeg looked into."""
    first, second = next(frames, None), next(frames, None)
    if first and second and first.layout.name == second.layout.name:
        first.sample_rate = second.sample_rate
    return chain((frame for frame in (first, second) if frame), frames)
