"""Recordings that are several files joined end to end, as programs do with the answers of a speech service.

Players play all of such a file. FFmpeg takes a tag in the middle for broken audio, a second AMR header for audio, and
stops at the second link of an Ogg chain when its codec or its channels differ. So a file is opened in parts, without
the bytes that are not audio.
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
MAX_TAGS = 10_000  # of one file: enough for thousands of joined files, and cheap in a hostile file of nothing but tags
MAX_LYRICS_BYTES = 100_000  # of a Lyrics3 tag
ByteRange = tuple[int, int]  # first byte, and the byte after the last


def audio_parts(source: Path) -> "list[Path | FileRanges]":
    """What to open, one after the other: the file itself, or views of it that leave out tags and junk."""
    if not source.stat().st_size:
        return [source]
    with mapped(source) as data:
        head = data[:12]
        if head[:4] == b"OggS":
            chain = links(data)
            return [FileRanges(source, [link]) for link in chain] if len(chain) > 1 else [source]
        if head[:3] == b"ID3" or head[:5] == b"#!AMR" or _is_sync(head):
            return _without_tags_and_junk(source, data)
    return [source]


def _without_tags_and_junk(source: Path, data: mmap.mmap) -> "list[Path | FileRanges]":
    junk, codec_changes = mpeg_frames.junk_and_codec_changes(data, _end_of_first_tag(data))
    junk_bytes = sum(stop - start for start, stop in junk if _was_audio(data, start, stop))
    ranges = list(_between(sorted([*_tags(data), *junk]), len(data)))
    if codec_changes:
        views = [FileRanges(source, part) for part in _split(ranges, codec_changes)]
        views[0].junk_bytes = junk_bytes
        return list(views)
    return [FileRanges(source, ranges, junk_bytes)] if len(ranges) > 1 else [source]


class FileRanges(io.RawIOBase):
    """Some byte ranges of a file, readable as one file. junk_bytes: left out between them, that were once audio."""

    def __init__(self, path: Path, ranges: list[ByteRange], junk_bytes: int = 0) -> None:
        self.path = path
        self.first_byte = ranges[0][0]
        self.junk_bytes = junk_bytes
        self._ranges = ranges
        self._size = sum(stop - start for start, stop in ranges)
        self._position = 0
        self._file: io.BufferedReader | None = None  # opened by the first read: a chain may have hundreds of links

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = max(0, offset + origins[whence])
        return self._position

    def read(self, size: int = -1) -> bytes:
        self._file = self._file or self.path.open("rb")
        remaining = self._size if size < 0 else size
        blocks = []
        passed = 0  # bytes of the ranges before this one
        for start, stop in self._ranges:
            begin = start + max(0, self._position - passed)
            if begin < stop and remaining > 0:
                self._file.seek(begin)
                blocks.append(self._file.read(min(remaining, stop - begin)))
                self._position += len(blocks[-1])
                remaining -= len(blocks[-1])
            passed += stop - start
        return b"".join(blocks)

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


def _split(ranges: list[ByteRange], cuts: list[int]) -> Iterator[list[ByteRange]]:
    """The ranges before the first cut, between two cuts, and after the last. cuts: bytes of the file."""
    for begin, end in pairwise([0, *cuts, ranges[-1][1]]):
        part = [(max(start, begin), min(stop, end)) for start, stop in ranges if start < end and stop > begin]
        if part:
            yield part


def _end_of_first_tag(data: mmap.mmap) -> int:
    """The first byte after the ID3 tag at the start; 0 where there is none."""
    tag = _tag(data, 0, data[:3]) if data[:3] == b"ID3" else None
    return tag[1] if tag else 0


def _was_audio(data: mmap.mmap, start: int, stop: int) -> bool:
    """Whether these bytes are neither a tag nor padding, which is all zeros."""
    return not TAGS.match(data, start) and bool(data[start:stop].strip(b"\0"))


def _is_sync(head: bytes) -> bool:
    """Whether a frame of MPEG audio begins here: mp3, or AAC as ADTS."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def _between(left_out: Iterable[ByteRange], size: int) -> Iterator[ByteRange]:
    """What remains of a file of this size."""
    at = 0
    for start, stop in left_out:
        if start > at:
            yield at, start
        at = max(at, stop)
    if at < size:
        yield at, size


def _tags(data: mmap.mmap) -> Iterator[ByteRange]:
    """The tags in the middle and at the end. What is not followed by audio, a tag or the end only looks like a tag."""
    end_of_previous = 0
    for match in islice(TAGS.finditer(data), MAX_TAGS):
        tag = _tag(data, match.start(), match.group())
        if tag is None or match.start() < end_of_previous:
            continue
        following = data[tag[1] : tag[1] + 11]
        is_amr = match.group().startswith(b"#!AMR")
        if is_amr or not following or _is_sync(following) or following[:2] == b"\0\0" or TAGS.match(following):
            end_of_previous = tag[1]
            if tag[0] > 0:
                yield tag


def _tag(data: mmap.mmap, at: int, name: bytes) -> ByteRange | None:
    """The range of the tag whose name stands at `at`; None when its content shows that it is not a tag."""
    if name.startswith(b"#!AMR"):
        return (at, at + len(name)) if data[: len(name)] == name else None
    if name.startswith(b"ID3"):
        size = data[at + 6 : at + 10]
        if len(size) < 4 or max(size) > 0x7F:
            return None
        has_footer = data[at + 5] & 0x10
        content_bytes = size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]
        stop = at + 10 + content_bytes + (10 if has_footer else 0)
    elif name == b"TAG":
        stop = at + 128
    elif name == b"APETAGEX":
        items_bytes = int.from_bytes(data[at + 12 : at + 16], "little")
        flags = int.from_bytes(data[at + 20 : at + 24], "little")
        is_header = flags & 1 << 29  # the items follow it; they lie before a footer
        at, stop = (at, at + 32 + items_bytes) if is_header else (at + 32 - items_bytes, at + 32)
    else:
        ends = [data.find(mark, at, at + MAX_LYRICS_BYTES) for mark in (b"LYRICS200", b"LYRICSEND")]
        stop = max(ends) + 9
    return (at, stop) if 0 <= at < stop <= len(data) else None
