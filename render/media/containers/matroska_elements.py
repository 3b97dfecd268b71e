"""The elements of a Matroska or WebM file (RFC 9559): where they are broken, and whether the file was cut off."""

import mmap
from dataclasses import dataclass

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
CLUSTER_BYTES = CLUSTER.to_bytes(4, "big")
TOP_LEVEL = {SEGMENT, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854}
ANYWHERE = {0xEC, 0xBF}  # Void, CRC-32
KNOWN = TOP_LEVEL | IN_CLUSTER | ANYWHERE | {CLUSTER}
MAX_ELEMENTS = 1_000_000  # two hours of video; later elements are not looked at


@dataclass(frozen=True)
class Elements:
    broken_places: list[int]  # bytes at which no element begins
    may_be_cut: bool  # an element ends behind the end of the file, or the segment has no length (recorded by a browser)


@dataclass(frozen=True)
class _Header:
    identifier: int  # 0: no element begins here
    header_bytes: int
    content_bytes: int | None  # None: unknown


def walk(data: mmap.mmap) -> Elements:
    """Go from element to element by their lengths, without reading their content."""
    places: list[int] = []
    may_be_cut = False
    at = 0
    for _ in range(MAX_ELEMENTS):
        if at >= len(data):
            break
        header = _header(data, at)
        if header.identifier not in KNOWN:
            places.append(at)
            at = data.find(CLUSTER_BYTES, at + 1)
            if at < 0:
                break
            continue
        if header.content_bytes is None:
            may_be_cut = may_be_cut or header.identifier == SEGMENT
        elif at + header.header_bytes + header.content_bytes > len(data):
            may_be_cut = True
        at += header.header_bytes
        if header.identifier not in (SEGMENT, CLUSTER):  # the elements in these two are walked as well
            at += header.content_bytes or 0
    return Elements(places, may_be_cut)


def _header(data: mmap.mmap, at: int) -> _Header:
    """Both numbers have variable lengths (RFC 8794, section 4): leading zero bits of the first byte tell how many."""
    identifier_bytes = 9 - data[at].bit_length()
    if identifier_bytes > 4 or at + identifier_bytes >= len(data):
        return _Header(0, 1, 0)
    size_at = at + identifier_bytes
    size_bytes = 9 - data[size_at].bit_length()
    if size_bytes > 8:
        return _Header(0, 1, 0)
    largest = (1 << 7 * size_bytes) - 1  # stands for "unknown"
    size = int.from_bytes(data[size_at : size_at + size_bytes], "big") & largest
    identifier = int.from_bytes(data[at:size_at], "big")
    return _Header(identifier, identifier_bytes + size_bytes, None if size == largest else size)
