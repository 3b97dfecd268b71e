"""The pages of an Ogg file (RFC 3533): where chained recordings begin, and where pages are broken or missing."""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_BYTES = 27
CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
MAX_PAGES = 500_000  # a day of audio, at five pages a second; later pages are not looked at
# Ogg's checksum has the polynomial of zlib's, with the bits of each byte in the opposite order.
MIRRORED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    start: int  # its first byte in the file
    size: int  # bytes
    flags: int
    track: bytes  # serial number
    number: int  # counted within each track


def links(data: mmap.mmap) -> list[tuple[int, int]]:
    """The byte ranges (start, stop) of the links of a chain (RFC 3533, section 4)."""
    starts = [0]
    is_first_page = True  # each link begins with the first pages of all its tracks
    for page in _pages(data):
        if page.flags & FIRST and not is_first_page:
            starts.append(page.start)
        is_first_page = bool(page.flags & FIRST)
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def broken_places(data: mmap.mmap) -> list[int]:
    """The bytes at which the pages go on after one that is missing or does not match its checksum."""
    places: list[int] = []
    numbers: dict[bytes, int] = {}  # track -> number of its latest page
    end = 0
    for page in _pages(data):
        is_next = page.flags & FIRST or page.number == (numbers.get(page.track, page.number - 1) + 1) & 0xFFFFFFFF
        if page.start > end or not is_next:
            places.append(page.start)
        numbers[page.track] = page.number
        end = page.start + page.size
    return places


def _pages(data: mmap.mmap) -> Iterator[Page]:
    """All pages that match their checksums."""
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
    mirrored = zlib.crc32(content.translate(MIRRORED_BYTES), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2).to_bytes(4, "little")
