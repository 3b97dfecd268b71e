"""The elements of a Matroska or WebM file (RFC 9559): where they are broken, and whether the file was cut off."""

import mmap
from dataclasses import dataclass

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
TOP = {SEGMENT, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854}
ANYWHERE = {0xEC, 0xBF}  # Void, CRC-32
KNOWN = TOP | IN_CLUSTER | ANYWHERE | {CLUSTER}
MAX_ELEMENTS = 1_000_000  # two hours of a film's blocks; what lies behind them is not looked at


@dataclass(frozen=True)
class Elements:
    broken_places: list[int]  # bytes at which no element begins
    may_be_cut: bool  # the file ends before its elements do; or its segment has no length, as browsers record it


def walk(data: mmap.mmap) -> Elements:
    """Go through the file from element to element, without reading them."""
    places: list[int] = []
    may_be_cut = False
    at = 0
    for _ in range(MAX_ELEMENTS):
        if at >= len(data):
            break
        identifier, length, head = _element(data, at)
        if identifier not in KNOWN:
            places.append(at)
            at = data.find(b"\x1f\x43\xb6\x75", at + 1)
            if at < 0:
                break
            continue
        if at + head + length > len(data) if length is not None else identifier == SEGMENT:
            may_be_cut = True
        at += head + (0 if identifier in (SEGMENT, CLUSTER) or length is None else length)
    return Elements(places, may_be_cut)


def _element(data: mmap.mmap, at: int) -> tuple[int, int | None, int]:
    """Its identifier, the length of its content (None: unknown), and of what comes before. 0 when it is none."""
    first = data[at]
    width = 9 - first.bit_length()
    if width > 4 or at + width >= len(data):
        return 0, 0, 1
    size_first = data[at + width]
    size_width = 9 - size_first.bit_length()
    if size_width > 8:
        return 0, 0, 1
    bits = int.from_bytes(data[at + width : at + width + size_width], "big") & (1 << 7 * size_width) - 1
    length = None if bits == (1 << 7 * size_width) - 1 else bits
    return int.from_bytes(data[at : at + width], "big"), length, width + size_width
