"""Silence where a recording has none: pauses that exist only as time stamps, and sound that begins late.

Browsers that are muted, Opus that is not transmitted in pauses, edit lists and damaged files leave such gaps. Players
keep the time; without the silence, what is said later would come too early.
"""

from collections.abc import Callable, Iterator

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

# Seconds that a frame may come late: Matroska counts milliseconds, and cameras' clocks are uneven. Where something was
# damaged, every gap over 10 ms is filled; the time stamps of Vorbis alone are uneven by 6 ms.
TOLERANCE, TOLERANCE_OF_DAMAGED = 0.05, 0.01
# A larger jump back means that another recording begins, which counts from 0 again. A smaller one is an overlap: all of
# it is kept, because words are worth more than the exact time, and the next pause is shortened by it.
BACKWARD = 1.0
# MPEG streams that were cut and joined jump. FFmpeg takes these for jumps, too (`-dts_delta_threshold`).
JUMP, JUMPING = 10.0, {"mpegts", "mpeg"}
# Containers with a time stamp for each packet. In all others the sound goes on without a pause.
TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg", "mpegts", "mpeg", "asf", "flv"}
COUNTED = {"flac"}  # by samples: it knows no pauses, and a gap is damage
KINDS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
BLOCK_SECONDS = 0.5  # of silence at a time


class SoundGaps:
    """Puts silence between the frames of one track.

    container: FFmpeg's name of it. start: in seconds, of the first track that a player would play.
    """

    def __init__(self, container: str, start: float) -> None:
        self.are_pauses = container in TIMED
        self._is_timed, self._jumps = container in TIMED | COUNTED, container in JUMPING
        self._expected = start  # seconds, when the next frame should begin

    def fill(self, frame: AudioFrame, *, is_damaged: bool, check: Callable[[float], None]) -> Iterator[AudioFrame]:
        """The silence that comes before `frame`, as frames like it. check: is told the seconds before any is made."""
        gap = self._gap(frame, TOLERANCE_OF_DAMAGED if is_damaged else TOLERANCE, is_damaged=is_damaged)
        check(gap)
        rate = frame.sample_rate
        left = round(gap * rate)
        while left > 0:
            samples = min(left, round(BLOCK_SECONDS * rate))
            left -= samples
            yield _silence_like(frame, samples)
        self._expected += gap + frame.samples / rate

    def _gap(self, frame: AudioFrame, tolerance: float, *, is_damaged: bool) -> float:
        time = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if time is None:
            return 0.0
        late = time - self._expected
        if late < -BACKWARD or (self._jumps and late > JUMP) or not (self._is_timed or is_damaged):
            self._expected = time
            return 0.0
        return late if late > tolerance else 0.0


def _silence_like(frame: AudioFrame, samples: int) -> AudioFrame:
    """samples: of each channel."""
    packed = frame.format.packed.name
    kind = KINDS[packed]
    level = 128 if kind is np.uint8 else 0  # of silence
    # PyAV 18.1 cannot make a frame of eight channels that lie apart, but FFmpeg can set them apart.
    block = np.full((1, frame.layout.nb_channels * samples), level, kind)
    silence = AudioFrame.from_ndarray(block, format=packed, layout=frame.layout.name)
    silence.sample_rate = frame.sample_rate
    (apart,) = AudioResampler(format=frame.format.name).resample(silence)
    return apart
