"""The audio of a customer's file as players play it: all its parts, with silence in its pauses. Damage is counted."""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from av.audio.frame import AudioFrame
from av.container import InputContainer

from accounts.errors import ServiceError
from render.media.audio.sample_repair import SampleRepair
from render.media.containers.joined_files import FileRanges, audio_parts
from render.media.reading.damage import BYTE_STREAMS, Damage
from render.media.reading.decoding import audio_frames
from render.media.reading.frame_times import start_seconds
from render.media.reading.gaps import AudioGaps
from render.media.reading.opening import audio_track, decode_errors_as, open_source

# Hz. A header may claim 1 Hz and make one packet last for hours; microphones lie between these.
MIN_SOURCE_RATE, MAX_SOURCE_RATE = 4_000, 400_000
# Eight channels (7.1) at 192 kHz. A few kilobytes, packed without loss, can hold an hour of silence in more channels.
MAX_SAMPLES_A_SECOND = 8 * 192_000
MAX_SECONDS = 3600.0  # of audio that this service made itself


class SourceAudio:
    """Read `frames` to their end; then `lost_seconds` tells how much was missing.

    Raises ServiceError: `invalid` when nothing can be decoded, or an error of its code with figures when too much is
    missing; `too_long` before it makes a silence with which the audio would be longer than `max_seconds`.
    """

    def __init__(
        self,
        source: Path,
        *,
        invalid: ServiceError,
        too_long: ServiceError | None = None,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self._source = source
        self._invalid, self._too_long = invalid, too_long or invalid
        self._max_seconds = max_seconds
        self._seconds = 0.0  # of the frames so far
        self._damage, self._repair = Damage(invalid), SampleRepair()
        self.lost_seconds = 0.0

    def frames(self) -> Iterator[AudioFrame]:
        """Frames of any format, which may change from one to the next."""
        for number, part in enumerate(audio_parts(self._source)):
            with part if isinstance(part, FileRanges) else nullcontext():
                try:
                    with decode_errors_as(self._invalid):
                        container = open_source(part)
                except ServiceError:
                    if number == 0:
                        raise
                    continue  # something else was appended to the recording
                if isinstance(part, FileRanges):
                    self._damage.skipped(part.junk_bytes)
                with container:
                    yield from self._part(container, part)
        if self._seconds or self._damage.is_noticed:
            self.lost_seconds = self._damage.settle()

    def _part(self, container: InputContainer, part: Path | FileRanges) -> Iterator[AudioFrame]:
        stream = audio_track(container)
        if stream is None:
            detail = "The file has no audio track that can be read."
            raise ServiceError("audio_invalid", detail, param=self._invalid.param)
        gaps = AudioGaps(container.format.name, start_seconds(container))
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
            yield self._repair.repair(frame)

    def _check_gap(self, seconds: float) -> None:
        if seconds and self._seconds + seconds > self._max_seconds:
            raise self._too_long

    def _check_rate(self, frame: AudioFrame) -> None:
        if not MIN_SOURCE_RATE <= frame.sample_rate <= MAX_SOURCE_RATE:
            raise self._invalid
        channels = frame.layout.nb_channels
        if channels * frame.sample_rate > MAX_SAMPLES_A_SECOND:
            detail = f"The voice has {channels} channels at {frame.sample_rate} Hz. At most 8 at 192000 Hz can be read."
            raise ServiceError("audio_invalid", detail, param=self._invalid.param)


def _rate_corrected(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """Give the first frame the rate of the second: in joined files, FFmpeg reports the rate of the last one for it."""
    first, second = next(frames, None), next(frames, None)
    if first and second and first.layout.name == second.layout.name:
        first.sample_rate = second.sample_rate
    return chain((frame for frame in (first, second) if frame), frames)
