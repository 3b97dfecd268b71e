"""MPEG-TS (ISO/IEC 13818-1, 2.4.3): packets of a fixed size, numbered from 0 to 15 within each track."""

import mmap
import re

import numpy as np
from numpy.typing import NDArray

SYNC, NUMBERS, TRACKS, EMPTY_TRACK = 0x47, 16, 8192, 0x1FFF
SIZES = (188, 192, 204)  # as sent; with a time, of cameras and discs; with a checksum
HEAD_BYTES, FOLLOWING = 8192, 4  # in which the first packet must be, and how many tell that it is one
BLOCK = 20_000  # packets that are looked at together
MAX_PLACES = 2000  # after so many a file has lost more than may be missing


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the file goes on behind something that is no packet, or behind packets that are missing."""
    head = data[:HEAD_BYTES]
    starts = {size: found.start() for size in SIZES if (found := _sync(size, FOLLOWING).search(head))}
    if not starts:
        return []
    size, at = min(starts.items(), key=lambda item: item[1])
    places: list[int] = []
    latest = np.full(TRACKS, -1)  # number of the latest packet of each track
    while len(data) - at >= size and len(places) < MAX_PLACES:
        content = data[at : at + BLOCK * size]
        packets = np.frombuffer(content, np.uint8, len(content) // size * size).reshape(-1, size)
        strange = np.flatnonzero(packets[:, 0] != SYNC)
        whole = packets[: strange[0]] if strange.size else packets
        places += (at + size * _after_gap(whole, latest)).tolist()
        at += size * len(whole)
        if strange.size:
            found = _sync(size, 1).search(data, at)
            if not found:
                break
            at = found.start()
            places.append(at)
    return sorted(places)


def _sync(size: int, following: int) -> re.Pattern[bytes]:
    """A packet with so many behind it."""
    return re.compile(rb"\x47(?=(?:.{%d}\x47){%d})" % (size - 1, following), re.DOTALL)


def _after_gap(packets: NDArray[np.uint8], latest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the packets do not follow the one before of their track. Changes `latest`."""
    tracks = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    has_content = (packets[:, 3] & 0x10 > 0) & (tracks != EMPTY_TRACK)
    is_announced = (packets[:, 3] & 0x20 > 0) & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 > 0)
    order = np.flatnonzero(has_content)
    order = order[np.argsort(tracks[order], kind="stable")]
    track, number = tracks[order], packets[order, 3].astype(np.int64) & 0x0F
    is_first = np.diff(track, prepend=-1) != 0
    before = np.where(is_first, latest[track], np.roll(number, 1))
    latest[track] = number  # of equal indices the last one counts
    # One that is sent twice has the same number.
    is_next = (before < 0) | (number == (before + 1) % NUMBERS) | (number == before) | is_announced[order]
    return np.sort(order[~is_next])
