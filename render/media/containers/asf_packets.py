"""WMV and WMA (Advanced Systems Format, 5.2): data packets of one size, each of which begins with the same bytes."""

import mmap

DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
DATA_HEADER_BYTES = 50
PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
SIZE_IN_PROPERTIES = 92  # bytes before the size of the smallest packet, which is that of all
BEGINNING = b"\x82\0\0"  # two bytes of error correction, which are never used. Who writes no such bytes is not checked.
MAX_PACKETS = 5_000_000  # looked at in one file


def broken_places(data: mmap.mmap) -> list[int]:
    """Where something begins that is no packet, and where the file goes on: its demuxer may find the next one first."""
    properties, start = data.find(PROPERTIES), data.find(DATA)
    if properties < 0 or start < 0:
        return []
    place = properties + SIZE_IN_PROPERTIES
    size = int.from_bytes(data[place : place + 4], "little")
    at = start + DATA_HEADER_BYTES
    if not size or data[at : at + 3] != BEGINNING:
        return []
    length = int.from_bytes(data[start + 16 : start + 24], "little")  # of all packets, 0 when they were streamed
    end = start + length if length > DATA_HEADER_BYTES else len(data)  # behind it lies an index
    places: list[int] = []
    for _ in range(MAX_PACKETS):
        if at >= min(end, len(data)):
            break
        if data[at : at + 3] != BEGINNING:
            places.append(at)
            at = data.find(BEGINNING, at + 1)
            if at < 0:
                break
            places.append(at)
        at += size
    return places
