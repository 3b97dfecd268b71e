"""What an image costs to decode, counted in its file before any decoder runs.

The size in its header does not tell: a progressive JPEG may go over all its pixels again and again, each time for a few
bytes (libjpeg-turbo, "Two Issues with the JPEG Standard"), and a PNG may be cut into millions of empty chunks.
"""

import mmap
import re
import struct
from pathlib import Path

from accounts.errors import ServiceError
from render.media.containers.mapped_file import mapped
from render.media.reading.image_formats import MAX_PIXELS

# An encoder writes 10 scans, or about 20 when it looks for the smallest file; an empty scan of MAX_PIXELS costs 25 ms.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 20 * MAX_PIXELS
ORDINARY_SCANS = 12  # allowed at every size: 10 of 200 megapixels cost 3 s
MAX_JPEG_SEGMENTS = 2_000  # of up to 64 KiB: tables, and the depth maps that phones add
MAX_PNG_CHUNKS = 70_000  # libpng writes chunks of 8 KiB, so an image of 500 MiB has 64,000

_MARKER = re.compile(
    rb"\xff[^\x00\xd0-\xd7\xff]"
)  # FF 00 is data, FF D0 to FF D7 stand within data, FF FF is fill (T.81, B.1.1)
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # hold the image's size; the other three are tables


def check_image_cost(source: Path, *, param: str) -> None:
    """Check a JPEG or PNG; the cost of other formats depends on their size only.

    Raises ServiceError media_too_complex.
    """
    with source.open("rb") as file:
        start = file.read(8)
    if start[:3] == b"\xff\xd8\xff":
        with mapped(source) as data:
            _check_jpeg(data, param)
    elif start == b"\x89PNG\r\n\x1a\n":
        with mapped(source) as data:
            _check_png(data, param)


def _check_jpeg(data: mmap.mmap, param: str) -> None:
    """Go from marker to marker as libjpeg does, to the end of the first image."""
    max_scans = MAX_SCANS
    scans = segments = position = 0
    while (match := _MARKER.search(data, position)) is not None:
        position = match.end()
        marker = data[position - 1]
        if marker == _EOI:
            return
        if marker in (_SOI, _TEM):
            continue
        if marker in _SOF:
            height, width = struct.unpack(">HH", data[position + 3 : position + 7].ljust(4, b"\0"))
            max_scans = min(max_scans, max(ORDINARY_SCANS, MAX_SCANNED_PIXELS // max(height * width, 1)))
        scans += marker == _SOS
        segments += 1
        if scans > max_scans:
            detail = f"The JPEG has more than {max_scans} scans, the most that an image of its size may have."
            raise ServiceError("media_too_complex", detail, param=param)
        if segments > MAX_JPEG_SEGMENTS:
            detail = f"The JPEG has too many segments: at most {MAX_JPEG_SEGMENTS} are allowed."
            raise ServiceError("media_too_complex", detail, param=param)
        position += int.from_bytes(data[position : position + 2], "big")


def _check_png(data: mmap.mmap, param: str) -> None:
    position = 8  # after the signature
    for _ in range(MAX_PNG_CHUNKS):
        if position >= len(data):
            return
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    raise ServiceError(
        "media_too_complex", f"The PNG has too many chunks: at most {MAX_PNG_CHUNKS} are allowed.", param=param
    )
