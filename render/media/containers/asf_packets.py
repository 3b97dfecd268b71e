"""The data packets of WMV and WMA (Advanced Systems Format, 5.2): all of one size, with the same first bytes."""

import mmap

DATA_OBJECT = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
DATA_HEADER_BYTES = 50
FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
PACKET_SIZE_OFFSET = 92  # bytes from the start of the file properties to the size of a packet
# Each packet begins with two bytes of error correction data, which are always 0. Files without them are not checked.
PACKET_START = b"\x82\0\0"
MAX_PACKETS = 5_000_000  # of one file that are looked at


def broken_places(data: mmap.mmap) -> list[int]:
    """Bytes at which a broken part begins, and bytes at which the packets go on: FFmpeg may resume at either."""
    properties, data_object = data.find(FILE_PROPERTIES), data.find(DATA_OBJECT)
    if properties < 0 or data_object < 0:
        return []
    size_at = properties + PACKET_SIZE_OFFSET
    packet_bytes = int.from_bytes(data[size_at : size_at + 4], "little")
    at = data_object + DATA_HEADER_BYTES
    if not packet_bytes or data[at : at + 3] != PACKET_START:
        return []
    data_bytes = int.from_bytes(data[data_object + 16 : data_object + 24], "little")  # 0 in a streamed file
    end = data_object + data_bytes if data_bytes > DATA_HEADER_BYTES else len(data)  # an index follows
    places: list[int] = []
    for _ in range(MAX_PACKETS):
        if at >= min(end, len(data)):
            break
        if data[at : at + 3] != PACKET_START:
            places.append(at)
            at = data.find(PACKET_START, at + 1)
            if at < 0:
                break
            places.append(at)
        at += packet_bytes
    return places
