"""MPEG-TS (ISO/IEC 13818-1, 2.4.3): packets of a fixed size, numbered from 0 to 15 within each track."""

import mmap
import re

import numpy as np
from numpy.typing import NDArray

SYNC = 0x47  # the first byte of each packet
NUMBERS = 16  # a packet's number is counted modulo this
TRACKS, PADDING_TRACK = 8192, 0x1FFF
PACKET_BYTES = (188, 192, 204)  # as sent; with a time stamp, from cameras and discs; with a checksum
HEAD_BYTES = 8192  # the first packet must begin within these
FOLLOWING = 4  # sync bytes at the right distance that make sure of the first packet
BLOCK = 20_000  # packets that are looked at together
MAX_PLACES = 2000  # a file with so many has lost more than may be missing


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the packets go on after a broken part, or after packets that are missing."""
    head = data[:HEAD_BYTES]
    starts = [(match.start(), size) for size in PACKET_BYTES if (match := _sync(size, FOLLOWING).search(head))]
    if not starts:
        return []
    at, size = min(starts)
    places: list[int] = []
    latest_numbers = np.full(TRACKS, -1)  # by track
    while len(data) - at >= size and len(places) < MAX_PLACES:
        content = data[at : at + BLOCK * size]
        packets = np.frombuffer(content, np.uint8, len(content) // size * size).reshape(-1, size)
        broken = np.flatnonzero(packets[:, 0] != SYNC)
        whole = packets[: broken[0]] if broken.size else packets
        places += (at + size * _after_gap(whole, latest_numbers)).tolist()
        at += size * len(whole)
        if broken.size:
            next_packet = _sync(size, 1).search(data, at)
            if not next_packet:
                break
            at = next_packet.start()
            places.append(at)
    return sorted(places)


def _sync(size: int, following: int) -> re.Pattern[bytes]:
    """Matches the first byte of a packet with this many packets after it."""
    return re.compile(rb"\x47(?=(?:.{%d}\x47){%d})" % (size - 1, following), re.DOTALL)


def _after_gap(packets: NDArray[np.uint8], latest_numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the packets whose number does not follow on that of their track's packet before.

    packets: N x bytes. Updates `latest_numbers`.
    """
    tracks = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    has_content = (packets[:, 3] & 0x10 > 0) & (tracks != PADDING_TRACK)
    is_announced = (packets[:, 3] & 0x20 > 0) & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 > 0)
    order = np.flatnonzero(has_content)
    order = order[np.argsort(tracks[order], kind="stable")]
    track, number = tracks[order], packets[order, 3].astype(np.int64) & 0x0F
    is_first = np.diff(track, prepend=-1) != 0
    before = np.where(is_first, latest_numbers[track], np.roll(number, 1))
    latest_numbers[track] = number  # numpy keeps the last value of equal indices
    # A packet that is sent twice has the same number.
    is_next = (before < 0) | (number == (before + 1) % NUMBERS) | (number == before) | is_announced[order]
    return np.sort(order[~is_next])
