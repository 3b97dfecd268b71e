"""Silence where a recording has none: pauses that exist only as time stamps, and audio that begins late.

Muted browsers, Opus that is not transmitted in pauses, edit lists and damaged files leave such gaps. Players keep the
time; without the silence, what is said later would come too early.
"""

from collections.abc import Callable, Iterator

import numpy as np
from av.audio.frame import AudioFrame

from render.media.reading.frame_samples import SAMPLE_TYPES, frame_like

# Seconds that a frame may come late: Matroska counts milliseconds, and the clocks of cameras are uneven. After damage
# every gap over 10 ms is filled; the time stamps of Vorbis alone are uneven by 6 ms.
TOLERANCE, TOLERANCE_AFTER_DAMAGE = 0.05, 0.01
# A larger jump back means that another recording begins, which counts from 0 again. A smaller one is an overlap: all of
# it is kept, because words are worth more than the exact time, and the next pause is shortened by it.
BACKWARD = 1.0
# MPEG streams that were cut and joined jump. FFmpeg takes these for jumps, too (`-dts_delta_threshold`).
JUMP, JUMPING = 10.0, {"mpegts", "mpeg"}
# Containers with a time stamp for each packet. In all others the audio goes on without a pause.
TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg", "mpegts", "mpeg", "asf", "flv"}
COUNTED = {"flac"}  # its packets are numbered by samples: it knows no pauses, and a gap is damage
BLOCK_SECONDS = 0.5  # of silence at a time


class AudioGaps:
    """Puts silence between the frames of one track.

    container: FFmpeg's name of it. start: the second at which the first track that a player would play begins.
    """

    def __init__(self, container: str, start: float) -> None:
        self.are_pauses = container in TIMED
        self._is_timed, self._jumps = container in TIMED | COUNTED, container in JUMPING
        self._expected = start  # seconds at which the next frame should begin

    def fill(self, frame: AudioFrame, *, is_damaged: bool, check: Callable[[float], None]) -> Iterator[AudioFrame]:
        """Yield the silence before `frame`, in frames like it. check: is called with its seconds before any is made."""
        gap = self._gap(frame, is_damaged=is_damaged)
        check(gap)
        rate = frame.sample_rate
        remaining = round(gap * rate)
        while remaining > 0:
            samples = min(remaining, round(BLOCK_SECONDS * rate))
            remaining -= samples
            yield _silence_like(frame, samples)
        self._expected += gap + frame.samples / rate

    def _gap(self, frame: AudioFrame, *, is_damaged: bool) -> float:
        """Seconds."""
        if frame.pts is None or frame.time_base is None:
            return 0.0
        time = float(frame.pts * frame.time_base)
        late = time - self._expected
        if late < -BACKWARD or (self._jumps and late > JUMP) or not (self._is_timed or is_damaged):
            self._expected = time
            return 0.0
        return late if late > (TOLERANCE_AFTER_DAMAGE if is_damaged else TOLERANCE) else 0.0


def _silence_like(frame: AudioFrame, samples: int) -> AudioFrame:
    """samples: of each channel."""
    sample_type = SAMPLE_TYPES[frame.format.packed.name]
    level = 128 if sample_type is np.uint8 else 0  # of silence
    return frame_like(frame, np.full((samples, frame.layout.nb_channels), level, sample_type))
