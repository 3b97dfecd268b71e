"""The boxes of a fragmented mp4 file (ISO/IEC 14496-12, 8.8): where one is broken, and whether the file was cut off.

Browsers, cameras and streams write a `moof` box with the times of some packets, then an `mdat` box with the packets,
and so on. FFmpeg skips a fragment whose `moof` it cannot read, and stops at a box with a broken size.
"""

import mmap
import re
from dataclasses import dataclass, field

KNOWN = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"ssix", b"mfra", b"free", b"skip", b"udta", b"meta"}
KNOWN |= {b"uuid", b"emsg", b"prft", b"pdin", b"wide"}
MOOF = re.compile(rb"moof....mfhd", re.DOTALL)
MOOF_OR_MDAT = re.compile(rb"moof....mfhd|....mdat", re.DOTALL)
MAX_BOXES = 1_000_000  # weeks of fragments of a second


@dataclass
class Fragments:
    broken_places: list[int] = field(default_factory=list)  # first bytes of boxes that cannot be read
    is_cut: bool = False  # the last box ends behind the end of the file
    end: int = 0  # the byte behind the last fragment, as far as can be told


def walk(data: mmap.mmap) -> Fragments:
    """Go from box to box by their sizes. In a file without fragments nothing counts as broken or cut."""
    fragments = Fragments()
    is_fragmented = False
    has_moof = False  # a `moof` has come whose `mdat` has not
    at = 0
    for _ in range(MAX_BOXES):
        if at + 8 > len(data):
            break
        name, size = data[at + 4 : at + 8], _size(data, at)
        is_fragmented = is_fragmented or name == b"moof" or (name == b"moov" and data.find(b"mvex", at, at + size) > 0)
        if not is_fragmented and name not in KNOWN:
            break
        is_without_moof = name == b"mdat" and is_fragmented and not has_moof
        if name not in KNOWN or size < 8 or is_without_moof:
            if not (has_moof or MOOF_OR_MDAT.search(data, at)):
                break  # What follows the last fragment is padding, or belongs to other programs.
            fragments.broken_places.append(at)
            fragments.end = len(data)
            following = MOOF.search(data, at)
            if following is None:
                break
            at, has_moof = following.start() - 4, False
            continue
        has_moof = name == b"moof" or (has_moof and name != b"mdat")
        fragments.is_cut = at + size > len(data)
        at += size
        if name in (b"moof", b"mdat"):
            fragments.end = min(at, len(data))
    return fragments if is_fragmented else Fragments()


def _size(data: mmap.mmap, at: int) -> int:
    """Bytes of the box. A size of 1 means that eight bytes follow the name, 0 that `mdat` goes on to the end."""
    size = int.from_bytes(data[at : at + 4], "big")
    if size == 1:
        return int.from_bytes(data[at + 8 : at + 16], "big")
    if size == 0 and data[at + 4 : at + 8] == b"mdat":
        return len(data) - at
    return size
