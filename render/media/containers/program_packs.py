"""MPEG program streams (ISO/IEC 13818-1, 2.5.3; 11172-1, 2.4.3): a chain of packs and packets that say their length."""

import mmap

START = b"\0\0\1"
PACK, END, SYSTEM = 0xBA, 0xB9, 0xBB  # the last byte of a start code; packets of tracks have higher ones
MAX_PACKETS = 5_000_000  # looked at in one file


def broken_places(data: mmap.mmap) -> list[int]:
    """Where something begins that is neither a pack nor a packet, and where the next pack begins: a demuxer may find
    something between the two.
    """
    places: list[int] = []
    at = 0
    for _ in range(MAX_PACKETS):
        size = _size(data, at)
        if size:
            at += size
            continue
        # Not a packet: start codes within the broken one may be those of pictures.
        found = data.find(START + bytes([PACK]), at + 1)
        if found < 0:
            break
        places += [at, found]
        at = found
    return places


def _size(data: mmap.mmap, at: int) -> int:
    """Bytes of what begins there, 0 when it is no pack and no packet."""
    header = data[at : at + 14]
    if header[:3] != START or len(header) < 4:
        return 0
    if header[3] == PACK:
        return 14 + (header[13] & 7) if header[4] >> 6 == 1 and len(header) == 14 else 12
    if header[3] == END:
        return 4
    return 6 + int.from_bytes(header[4:6], "big") if header[3] >= SYSTEM else 0
