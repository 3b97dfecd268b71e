"""MPEG program streams (ISO/IEC 13818-1, 2.5.3; 11172-1, 2.4.3): a chain of packs and packets with their lengths."""

import mmap

START_CODE = b"\0\0\1"
PACK, END, SYSTEM = 0xBA, 0xB9, 0xBB  # the byte after the start code; packets of tracks have higher ones
MAX_PACKETS = 5_000_000  # of one file that are looked at


def broken_places(data: mmap.mmap) -> list[int]:
    """Bytes at which a broken part begins, and bytes at which the next pack begins: FFmpeg may resume at either."""
    places: list[int] = []
    at = 0
    for _ in range(MAX_PACKETS):
        size = _size(data, at)
        if size:
            at += size
            continue
        # Search for a pack and not for a packet: start codes within a broken packet may be those of video frames.
        pack = data.find(START_CODE + bytes([PACK]), at + 1)
        if pack < 0:
            break
        places += [at, pack]
        at = pack
    return places


def _size(data: mmap.mmap, at: int) -> int:
    """Bytes of the pack header or packet that begins here; 0 when none does."""
    header = data[at : at + 14]
    if header[:3] != START_CODE or len(header) < 4:
        return 0
    if header[3] == PACK:
        is_mpeg2 = header[4] >> 6 == 1 and len(header) == 14
        return 14 + (header[13] & 7) if is_mpeg2 else 12
    if header[3] == END:
        return 4
    return 6 + int.from_bytes(header[4:6], "big") if header[3] >= SYSTEM else 0
