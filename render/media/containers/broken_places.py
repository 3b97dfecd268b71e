"""Whether something lies between two packets of a file that its demuxer could not read.

Only this tells a pause, for which a recorder wrote no packets, from packets that were lost.
"""

import mmap
from bisect import bisect_right
from functools import cached_property
from pathlib import Path

from render.media.containers import (
    asf_packets,
    flv_tags,
    matroska_elements,
    mp4_fragments,
    ogg_pages,
    program_packs,
    transport_packets,
)
from render.media.containers.joined_files import Stretches
from render.media.containers.mapped_file import mapped


class BrokenPlaces:
    """Looks at the file when it is first asked: most files have no pauses without packets."""

    def __init__(self, source: Path | Stretches, container: str) -> None:
        self._path, self._first = (source, 0) if isinstance(source, Path) else (source.path, source.first)
        self._container = container

    def is_between(self, position: int, next_position: int) -> bool:
        """Positions of two packets that follow one another, in bytes of the file or of the stretch."""
        place = bisect_right(self._places, position + self._first)
        return place < len(self._places) and self._places[place] <= next_position + self._first

    @cached_property
    def _places(self) -> list[int]:
        walk = WALKS.get(self._container)
        if walk is None:
            return []
        with mapped(self._path) as data:
            return walk(data)


def _of_matroska(data: mmap.mmap) -> list[int]:
    return matroska_elements.walk(data).broken_places


def _of_mp4(data: mmap.mmap) -> list[int]:
    return mp4_fragments.walk(data).broken_places


WALKS = {
    "ogg": ogg_pages.broken_places,
    "flv": flv_tags.broken_places,
    "matroska,webm": _of_matroska,
    "mpegts": transport_packets.broken_places,
    "mpeg": program_packs.broken_places,
    "mov,mp4,m4a,3gp,3g2,mj2": _of_mp4,
    "asf": asf_packets.broken_places,
}
