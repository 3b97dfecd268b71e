"""The frames of AAC as a stream (ADTS, ISO/IEC 13818-7): where bytes lie between them that are no frame.

FFmpeg finds the next frame, too, but leaves out some ten good ones until it does.
"""

import mmap
import re

SYNC = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
HEADER_BYTES = 7
MAX_FRAMES = 1_000_000  # six hours; what lies behind them is not looked at
MAX_CANDIDATES = 100_000  # for the next frame, in one file


def is_adts(start: bytes) -> bool:
    return SYNC.match(start) is not None


def junk(data: mmap.mmap, first: int) -> list[tuple[int, int]]:
    """Stretches between frames, first byte and the one after the last. first: where the first frame begins."""
    found: list[tuple[int, int]] = []
    before = at = first
    candidates = iter(range(MAX_CANDIDATES))
    for _ in range(MAX_FRAMES):
        if at >= len(data):
            break
        if length := _length(data, at):
            before, at = at, at + length
            continue
        # Either this header is broken, or the length in the one before.
        syncs = (sync.start() for sync in SYNC.finditer(data, before + 1))
        end = next((sync for sync in syncs if next(candidates, None) is None or _is_frame(data, sync)), len(data))
        if not _is_frame(data, end):
            break
        found.append((at if end >= at else before, end))
        before = at = end
    return found


def _is_frame(data: mmap.mmap, at: int) -> bool:
    """Whether a frame begins here, and another or the end of the file follows it."""
    length = _length(data, at)
    return bool(length) and (at + length >= len(data) or bool(_length(data, at + length)))


def _length(data: mmap.mmap, at: int) -> int:
    """Bytes of the frame that begins here; 0 when none does."""
    header = data[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not SYNC.match(header) or header[2] >> 2 & 0xF > 12:  # 13 sampling rates
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > HEADER_BYTES else 0
