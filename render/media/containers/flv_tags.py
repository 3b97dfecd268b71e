"""The tags of a Flash video file (FLV): where a broken part lies between two tags."""

import mmap
import re
from collections.abc import Iterator

HEADER_BYTES = 13
TAG_HEADER_BYTES = 11
# Type (audio, video or data), three bytes of length, four of time, and a stream number that is always 0.
TAG = re.compile(rb"[\x08\x09\x12].{7}\0\0\0", re.DOTALL)
MAX_TAGS = 1_000_000  # two hours of video; later tags are not looked at


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the tags go on after a broken part."""
    return [start for start, is_next in _tags(data) if not is_next]


def _tags(data: mmap.mmap) -> Iterator[tuple[int, bool]]:
    """For each tag: its first byte, and whether it follows directly on the tag before."""
    at = end_of_previous = HEADER_BYTES
    for _ in range(MAX_TAGS):
        tag = TAG.match(data, at) or TAG.search(data, at)
        if not tag:
            return
        start = tag.start()
        stop = start + TAG_HEADER_BYTES + int.from_bytes(data[start + 1 : start + 4], "big")
        # Four bytes after each tag repeat its size: a tag without them only looks like one.
        if int.from_bytes(data[stop : stop + 4], "big") == stop - start:
            yield start, start == end_of_previous
            at = end_of_previous = stop + 4
        else:
            at = start + 1
