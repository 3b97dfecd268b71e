"""Clips of which each frame carries its number: eight black or white blocks above it, the last one a parity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from infinitetalk.video_end import VIDEO_ENDS

Frame = NDArray[np.uint8]  # H x W x 3

BITS = 7
STRIP = 32  # pixels: the height of the blocks
WIDTH = 256  # pixels: of all blocks
TICKS = 90_000  # a second


@dataclass(frozen=True)
class Clip:
    """What a customer may send."""

    times: tuple[Fraction, ...]  # seconds at which each frame is shown
    last_seconds: Fraction  # for which the last frame is shown
    turned: int = 0  # degrees clockwise by which a player turns what is stored
    pixels: str = "yuv420p"

    @classmethod
    def at(cls, rate: Fraction | int, frames: int, *, turned: int = 0, pixels: str = "yuv420p") -> "Clip":
        times = tuple(number / Fraction(rate) for number in range(frames))
        return cls(times, 1 / Fraction(rate), turned, pixels)

    def shown(self) -> list[int]:
        """The number of the frame for each 25th of a second: the last one that is due by half a 25th after it."""
        ticks = int((self.times[-1] + self.last_seconds) * 25 + Fraction(1, 2))
        dues = [Fraction(2 * tick + 1, 50) for tick in range(ticks)]
        return [sum(time < due for time in self.times) - 1 for due in dues]


def _with_gap() -> Clip:
    """As of a phone: about 30 frames a second, none of them in time, and none at all for 0.4 s."""
    ticks = [3003 * number + 37 * number**2 % 700 + (36_000 if number >= 9 else 0) for number in range(16)]
    return Clip(tuple(Fraction(tick, TICKS) for tick in ticks), Fraction(1, 30))


CLIPS = {
    "turned by 90": Clip.at(25, 22, turned=90),
    "turned by 180": Clip.at(25, 13, turned=180),
    "turned by 270": Clip.at(30, 20, turned=270),
    "10 bit": Clip.at(25, 21, pixels="yuv420p10le"),
    "23.976": Clip.at(Fraction(24_000, 1001), 22),
    "29.97": Clip.at(Fraction(30_000, 1001), 27),
    "60": Clip.at(60, 50),
    "with a gap": _with_gap(),
}


def continued(shown: Sequence[int], end: str, num_frames: int) -> list[int]:
    """What `num_frames` show of a video that shows `shown`. end: of VIDEO_ENDS."""
    assert end in VIDEO_ENDS
    if end == "hold":
        return [*shown, *[shown[-1]] * num_frames][:num_frames]
    back = shown[-2:0:-1] if end == "bounce" else []
    return list(islice(cycle([*shown, *back]), num_frames))


def numbered(picture: Frame, number: int) -> Frame:
    """picture: WIDTH pixels wide, or more."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    blocks = np.array([*bits, sum(bits) % 2], np.uint8) * 255
    strip = np.zeros((STRIP, picture.shape[1], 3), np.uint8)
    strip[:, :WIDTH] = np.repeat(blocks, WIDTH // (BITS + 1))[None, :, None]
    return np.concatenate([strip, picture])


def number_of(frame: Frame, source_width: int = WIDTH) -> int:
    """Of a frame that shows the source whole and upright, in any size."""
    scale = frame.shape[1] / source_width
    side = WIDTH / (BITS + 1) * scale
    row = frame[round(STRIP / 2 * scale)]
    levels = [row[round((block + 0.5) * side)].mean() for block in range(BITS + 1)]
    assert all(level < 64 or level > 192 for level in levels), levels
    *bits, parity = [level > 128 for level in levels]
    assert sum(bits) % 2 == parity, levels
    return sum(int(bit) << place for place, bit in enumerate(bits))


def write_clip(path: Path, clip: Clip, picture: Callable[[int], Frame]) -> Path:
    """picture: of each number, below the blocks."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "16"})
        stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS)
        for number, time in enumerate(clip.times):
            stored = np.rot90(numbered(picture(number), number), clip.turned // 90)
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], clip.pixels
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    if clip.turned:
        _turn(path, clip.turned)
    return path


def _turn(path: Path, clockwise: int) -> None:
    """Write the matrix of the track's header: ISO/IEC 14496-12, 8.3.2."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    matrix = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)
