"""The frames of mp3 (ISO/IEC 11172-3, 13818-3) and of AAC as a stream (ADTS, 13818-7), and what lies between them.

FFmpeg finds the next frame behind something broken, too, but some ten good ones later, because it takes bytes of sound
for headers.
"""

import mmap
import re

SYNC = re.compile(rb"\xff[\xe0-\xff]")
HEADER_BYTES = 7
MAX_FRAMES = 1_000_000  # six hours; what lies behind them is not looked at
MAX_TURNS = 1000  # each makes a part that is opened on its own
MAX_CANDIDATES = 100_000  # for the next frame, in one file
# kbit/s by the number in the header, of MPEG 1 and of MPEG 2 and 2.5, by layer.
BIT_RATES_1 = {
    1: [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    2: [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    3: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
}
BIT_RATES_2 = {
    1: [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    3: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}
RATES = [44_100, 48_000, 32_000]  # Hz, of MPEG 1


def junk(data: mmap.mmap, first: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Stretches between frames, first byte and the one after the last; and the bytes at which mp3 and ADTS take turns.

    first: where the first frame begins.
    """
    found: list[tuple[int, int]] = []
    turns: list[int] = []
    before = at = first
    candidates = iter(range(MAX_CANDIDATES))
    if not _is_frame(data, first):
        return [], []
    is_adts = _is_adts(data, first)
    for _ in range(MAX_FRAMES):
        if at >= len(data):
            break
        if length := _length(data, at):
            if _is_adts(data, at) != is_adts and _is_frame(data, at):
                is_adts = not is_adts
                turns.append(at)
            before, at = at, at + length
            continue
        # Either this header is broken, or the length in the one before.
        syncs = (sync.start() for sync in SYNC.finditer(data, before + 1))
        end = next((sync for sync in syncs if next(candidates, None) is None or _is_frame(data, sync)), len(data))
        if not _is_frame(data, end):
            break
        found.append((at if end >= at else before, end))
        before = at = end
    return found, turns[:MAX_TURNS]


def _is_adts(data: mmap.mmap, at: int) -> bool:
    return not data[at + 1] & 0b110


def _is_frame(data: mmap.mmap, at: int) -> bool:
    """Whether a frame begins here, and another or the end of the file follows it."""
    length = _length(data, at)
    return bool(length) and (at + length >= len(data) or bool(_length(data, at + length)))


def _length(data: mmap.mmap, at: int) -> int:
    """Bytes of the frame that begins here; 0 when none does, or its header does not say."""
    header = data[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not SYNC.match(header):
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    if layer == 4:
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        is_adts = version > 1 and header[2] >> 2 & 0xF <= 12  # 13 sampling rates
        return length if is_adts and length > HEADER_BYTES else 0
    bit_rate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return 0
    bits = 1000 * (BIT_RATES_1 if version == 3 else BIT_RATES_2)[layer][bit_rate]
    samples_a_second = RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // samples_a_second + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // samples_a_second + padding
