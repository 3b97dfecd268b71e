"""Recordings that are several files joined end to end, as programs do with the pieces of a speech service.

Players play all of it. FFmpeg takes a tag in the middle for sound that is broken, a second AMR header for sound, and
stops at the second link of an Ogg chain when its codec or its channels differ.
"""

import io
import mmap
import re
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path

from render.media.containers import mpeg_frames
from render.media.containers.mapped_file import mapped
from render.media.containers.ogg_pages import links

TAGS = re.compile(rb"ID3[\x02-\x04]|TAG|APETAGEX|LYRICSBEGIN|#!AMR(?:-WB)?\n")
MAX_TAGS = 10_000  # looked at in one file: thousands of pieces, and a hostile file of nothing else costs little
LONGEST_LYRICS = 100_000  # bytes, of Lyrics3
Stretch = tuple[int, int]  # first byte, and the one after the last


def parts(source: Path) -> "list[Path | Stretches]":
    """What to open one after the other: the file itself, or views of it that leave out what is not sound."""
    if not source.stat().st_size:
        return [source]
    with mapped(source) as data:
        start = data[:12]
        if start[:4] == b"OggS":
            chain = links(data)
            return [Stretches(source, [link]) for link in chain] if len(chain) > 1 else [source]
        if start[:3] == b"ID3" or start[:5] == b"#!AMR" or _is_sync(start):
            gone = list(_tags(data))
            first = _after_tag(data)
            broken, turns = mpeg_frames.junk(data, first)
            stretches = list(_between(sorted([*gone, *broken]), len(data)))
            junk_bytes = sum(stop - start for start, stop in broken if _was_sound(data, start, stop))
            if turns:
                views = [Stretches(source, piece) for piece in _split(stretches, turns)]
                views[0].junk_bytes = junk_bytes
                return list(views)
            return [Stretches(source, stretches, junk_bytes)] if len(stretches) > 1 else [source]
    return [source]


class Stretches(io.RawIOBase):
    """Some stretches of a file, as if they were one file. junk_bytes: of what lies between, should have been sound."""

    def __init__(self, path: Path, stretches: list[Stretch], junk_bytes: int = 0) -> None:
        self.junk_bytes = junk_bytes
        self.path, self.first = path, stretches[0][0]
        self._file: io.BufferedReader | None = None  # opened when it is read: a chain may have hundreds of links
        self._stretches = stretches
        self._size = sum(stop - start for start, stop in stretches)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def read(self, size: int = -1) -> bytes:
        self._file = self._file or self.path.open("rb")
        wanted = self._size if size < 0 else size
        pieces, passed = [], 0
        for start, stop in self._stretches:
            begin = start + max(0, self._at - passed)
            if begin < stop and wanted > 0:
                self._file.seek(begin)
                pieces.append(self._file.read(min(wanted, stop - begin)))
                self._at += len(pieces[-1])
                wanted -= len(pieces[-1])
            passed += stop - start
        return b"".join(pieces)

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


def _split(stretches: list[Stretch], turns: list[int]) -> Iterator[list[Stretch]]:
    """What lies before, between and behind the bytes of `turns`."""
    for begin, end in pairwise([0, *turns, stretches[-1][1]]):
        piece = [(max(start, begin), min(stop, end)) for start, stop in stretches if start < end and stop > begin]
        if piece:
            yield piece


def _after_tag(data: mmap.mmap) -> int:
    """The first byte behind the tag at the start, 0 where there is none."""
    tag = _tag(data, 0, data[:3]) if data[:3] == b"ID3" else None
    return tag[1] if tag else 0


def _was_sound(data: mmap.mmap, start: int, stop: int) -> bool:
    """Whether it is neither a tag nor padding, which is all zeros."""
    return not TAGS.match(data, start) and bool(data[start:stop].strip(b"\0"))


def _is_sync(start: bytes) -> bool:
    """Whether a frame of MPEG audio begins here: mp3, or AAC as ADTS."""
    return len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0


def _between(tags: Iterable[Stretch], size: int) -> Iterator[Stretch]:
    at = 0
    for start, stop in tags:
        if start > at:
            yield at, start
        at = max(at, stop)
    if at < size:
        yield at, size


def _tags(data: mmap.mmap) -> Iterator[Stretch]:
    """Tags behind the start of the file. Behind what only looks like one is neither sound, nor a tag, nor the end."""
    end = 0
    for found in islice(TAGS.finditer(data), MAX_TAGS):
        stretch = _tag(data, found.start(), found.group())
        if stretch is None or found.start() < end:
            continue
        next_bytes = data[stretch[1] : stretch[1] + 11]
        is_amr = found.group().startswith(b"#!AMR")
        if is_amr or not next_bytes or _is_sync(next_bytes) or next_bytes[:2] == b"\0\0" or TAGS.match(next_bytes):
            end = stretch[1]
            if stretch[0] > 0:
                yield stretch


def _tag(data: mmap.mmap, at: int, name: bytes) -> Stretch | None:
    """Where the tag begins and ends that seems to be at `at`."""
    if name.startswith(b"#!AMR"):
        return (at, at + len(name)) if data[: len(name)] == name else None
    if name.startswith(b"ID3"):
        size = data[at + 6 : at + 10]
        if len(size) < 4 or max(size) > 0x7F:
            return None
        has_footer = data[at + 5] & 0x10
        stop = at + 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + (10 if has_footer else 0)
    elif name == b"TAG":
        stop = at + 128
    elif name == b"APETAGEX":
        size_of_items, flags = (int.from_bytes(data[at + place : at + place + 4], "little") for place in (12, 20))
        is_header = flags & 1 << 29
        at, stop = (at, at + 32 + size_of_items) if is_header else (at + 32 - size_of_items, at + 32)
    else:
        ends = [data.find(mark, at, at + LONGEST_LYRICS) for mark in (b"LYRICS200", b"LYRICSEND")]
        stop = max(ends) + 9
    return (at, stop) if 0 <= at < stop <= len(data) else None
