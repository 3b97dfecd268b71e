"""The tags of a Flash video file: where something broken lies between them."""

import mmap
import re
from collections.abc import Iterator

HEADER_BYTES = 13
# Sound, picture or data; three bytes of length, four of time, and a stream that is always 0.
TAG = re.compile(rb"[\x08\x09\x12].{7}\0\0\0", re.DOTALL)
MAX_TAGS = 1_000_000  # two hours of a film's; what lies behind them is not looked at


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the file goes on behind something that is no tag."""
    return [start for start, is_next in _tags(data) if not is_next]


def _tags(data: mmap.mmap) -> Iterator[tuple[int, bool]]:
    """Of each, its first byte, and whether it follows the one before."""
    at = end = HEADER_BYTES
    for _ in range(MAX_TAGS):
        found = TAG.match(data, at) or TAG.search(data, at)
        if not found:
            return
        start = found.start()
        stop = start + 11 + int.from_bytes(data[start + 1 : start + 4], "big")
        if int.from_bytes(data[stop : stop + 4], "big") == stop - start:
            yield start, start == end
            at = end = stop + 4
        else:
            at = start + 1
