"""The boxes of an mp4 file that was written piece by piece (ISO/IEC 14496-12, 8.8): where something is broken in it.

Browsers, cameras and streams write a `moof` with the times of some packets, then an `mdat` with the packets, and so on.
FFmpeg leaves out a piece whose `moof` it does not know, and stops where the size of a box is broken.
"""

import mmap
import re
from dataclasses import dataclass, field

KNOWN = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"ssix", b"mfra", b"free", b"skip", b"udta", b"meta"}
KNOWN |= {b"uuid", b"emsg", b"prft", b"pdin", b"wide"}
MOOF = re.compile(rb"moof....mfhd", re.DOTALL)
PIECE = re.compile(rb"moof....mfhd|....mdat", re.DOTALL)
MAX_BOXES = 1_000_000  # weeks of pieces of a second


@dataclass
class Fragments:
    broken_places: list[int] = field(default_factory=list)  # first bytes of what is no box that can be read
    is_cut: bool = False  # the last box goes on behind the end of the file
    end: int = 0  # the byte behind the last piece, as far as can be told


def walk(data: mmap.mmap) -> Fragments:
    """Nothing is broken or cut in a file that is not in pieces."""
    found = Fragments()
    at, is_described = 0, False
    is_in_pieces = False
    for _ in range(MAX_BOXES):
        if at + 8 > len(data):
            break
        name, size = data[at + 4 : at + 8], _size(data, at)
        is_in_pieces = is_in_pieces or (name == b"moov" and data.find(b"mvex", at, at + size) > 0) or name == b"moof"
        if not is_in_pieces and name not in KNOWN:
            break
        is_lost = name == b"mdat" and is_in_pieces and not is_described
        if name not in KNOWN or size < 8 or is_lost:
            # What lies behind the last piece is a matter of other programs, or padding.
            if not (is_described or PIECE.search(data, at)):
                break
            found.broken_places.append(at)
            following = MOOF.search(data, at)
            found.end = len(data)
            if following is None:
                break
            at, is_described = following.start() - 4, False
            continue
        is_described = name == b"moof" or (is_described and name != b"mdat")
        found.is_cut = at + size > len(data)
        at += size
        if name in (b"moof", b"mdat"):
            found.end = min(at, len(data))
    return found if is_in_pieces else Fragments()


def _size(data: mmap.mmap, at: int) -> int:
    size = int.from_bytes(data[at : at + 4], "big")
    if size == 1:
        return int.from_bytes(data[at + 8 : at + 16], "big")
    return size or len(data) - at if data[at + 4 : at + 8] == b"mdat" else size
