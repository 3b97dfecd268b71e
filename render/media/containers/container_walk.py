"""One walk through the structure of a file, made only when it is needed: most files have no gap to explain.

Only the bytes between two packets tell a pause, for which a recorder wrote no packets, from packets that were lost.
"""

import mmap
from bisect import bisect_right
from collections.abc import Callable
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
from render.media.containers.joined_files import FileRanges
from render.media.containers.mapped_file import mapped

BROKEN_PLACES: dict[str, Callable[[mmap.mmap], list[int]]] = {  # by FFmpeg's name of the container
    "ogg": ogg_pages.broken_places,
    "flv": flv_tags.broken_places,
    "mpegts": transport_packets.broken_places,
    "mpeg": program_packs.broken_places,
    "asf": asf_packets.broken_places,
}


class ContainerWalk:
    """container: FFmpeg's name of it."""

    def __init__(self, source: Path | FileRanges, container: str) -> None:
        self.source = source
        if isinstance(source, Path):
            self._path, self._first_byte = source, 0
        else:
            self._path, self._first_byte = source.path, source.first_byte
        self._container = container

    def is_broken_between(self, position: int, next_position: int) -> bool:
        """Whether a broken place lies between two packets. Positions: bytes of the source, as FFmpeg counts them."""
        following = bisect_right(self._broken_places, position + self._first_byte)
        places = self._broken_places
        return following < len(places) and places[following] <= next_position + self._first_byte

    @cached_property
    def matroska(self) -> matroska_elements.Elements:
        with mapped(self._path) as data:
            return matroska_elements.walk(data)

    @cached_property
    def mp4(self) -> mp4_fragments.Fragments:
        with mapped(self._path) as data:
            return mp4_fragments.walk(data)

    @cached_property
    def _broken_places(self) -> list[int]:
        if self._container == "matroska,webm":
            return self.matroska.broken_places
        if self._container == "mov,mp4,m4a,3gp,3g2,mj2":
            return self.mp4.broken_places
        if self._container not in BROKEN_PLACES:
            return []
        with mapped(self._path) as data:
            return BROKEN_PLACES[self._container](data)
