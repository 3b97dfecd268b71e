"""The pages of an Ogg file (RFC 3533): where another recording begins in it, and where pages are broken or missing."""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_BYTES = 27
CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
MAX_PAGES = 500_000  # of a file: a day of them, at five a second
# zlib's checksum goes through the bits of a byte the other way round than Ogg's, over the same polynomial.
MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    at: int  # its first byte
    size: int  # bytes
    flags: int
    track: bytes
    number: int  # counted for each track


def links(data: mmap.mmap) -> list[tuple[int, int]]:
    """Of a chain (RFC 3533, section 4), the first byte of each link and the one after its last."""
    starts, is_in_head = [0], True
    for page in _pages(data):
        if page.flags & FIRST and not is_in_head:
            starts.append(page.at)
        is_in_head = bool(page.flags & FIRST)
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the sequence goes on after a page that is missing or does not agree with its checksum."""
    places: list[int] = []
    numbers: dict[bytes, int] = {}
    end = 0
    for page in _pages(data):
        is_next = page.flags & FIRST or page.number == (numbers.get(page.track, page.number - 1) + 1) & 0xFFFFFFFF
        if page.at > end or not is_next:
            places.append(page.at)
        numbers[page.track] = page.number
        end = page.at + page.size
    return places


def _pages(data: mmap.mmap) -> Iterator[Page]:
    """The whole ones."""
    at = data.find(b"OggS")
    for _ in range(MAX_PAGES):
        if at < 0:
            return
        page = _page(data, at)
        if page:
            yield page
        at = data.find(b"OggS", at + (page.size if page else 4))


def _page(data: mmap.mmap, at: int) -> Page | None:
    header = data[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    lengths = data[at + HEADER_BYTES : at + HEADER_BYTES + header[26]]
    size = HEADER_BYTES + len(lengths) + sum(lengths)
    content = data[at : at + size]
    if len(content) < size or _checksum(content) != header[22:26]:
        return None
    return Page(at, size, header[5], header[14:18], int.from_bytes(header[18:22], "little"))


def _checksum(page: bytes) -> bytes:
    content = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(content.translate(MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2).to_bytes(4, "little")
