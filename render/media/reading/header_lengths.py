"""Lengths that the header of a file promises: seconds, frames or bytes, of AVI, ASF, mp3, WAV, Wave64 and AU."""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from render.media.containers import asf_packets
from render.media.containers.joined_files import FileRanges

HEAD_BYTES = 65_536  # in which a header is looked for
MAX_CHUNKS = 1000  # of a WAV that are looked at


def read_head(source: Path | FileRanges) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(HEAD_BYTES)
    source.seek(0)
    return source.read(HEAD_BYTES)


def avi_end(head: bytes) -> tuple[int, int] | None:
    """The byte behind the last packet, and the size of the file; None when the header is not found."""
    movi = head.find(b"movi")
    if movi < 8:
        return None
    packets_bytes = int.from_bytes(head[movi - 4 : movi], "little")
    return movi + packets_bytes, 8 + int.from_bytes(head[4:8], "little")


def avi_seconds(head: bytes, track: int) -> float:
    """The duration of a track; 0 when the header is too short or does not tell. track: counted from 0."""
    at = -1
    for _ in range(track + 1):
        at = head.find(b"strh", at + 1)
        if at < 0 or at + 44 > len(head):
            return 0.0
    scale, rate, _, length = struct.unpack_from("<4I", head, at + 28)
    return float(length * scale / rate) if rate else 0.0


def asf_size_and_seconds(head: bytes) -> tuple[int, float]:
    """The bytes of the file and its duration; zeros when the header does not tell."""
    at = head.find(asf_packets.FILE_PROPERTIES)
    if at < 0 or at + 88 > len(head):
        return 0, 0.0
    size, _, _, duration, _, preroll = struct.unpack_from("<6Q", head, at + 40)
    return size, duration / 1e7 - preroll / 1e3  # in units of 100 ns, and of 1 ms


def mp3_frames(head: bytes) -> int:
    """The number of frames in the Xing or VBRI header of the first frame; 0 without one."""
    at = 0
    if head[:3] == b"ID3" and len(head) > 10:
        at = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    frame = head[at : at + 200]
    for name in (b"Xing", b"Info"):
        place = frame.find(name)
        if place >= 0 and frame[place + 7 : place + 8] and frame[place + 7] & 1:
            return int.from_bytes(frame[place + 8 : place + 12], "big")
    place = frame.find(b"VBRI")
    return int.from_bytes(frame[place + 14 : place + 18], "big") if place >= 0 else 0


def wave_data(path: Path) -> tuple[int, int]:
    """The first byte of the samples in a WAV, Wave64 or AU, and their number of bytes; zeros when it is not found."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b".snd":
            offset, size = struct.unpack_from(">2I", start, 4)
            return offset, size
        is_wave64 = start[:4] == b"riff"
        long_size = 0  # of 64 bits, in a chunk before the samples
        file.seek(40 if is_wave64 else 12)
        for name, size, at in chunks(file, is_wave64=is_wave64):
            if name == b"ds64":
                long_size = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"data":
                return at, long_size if start[:4] in (b"RF64", b"BW64") else size
    return 0, 0


def chunks(file: io.BufferedReader, *, is_wave64: bool) -> Iterator[tuple[bytes, int, int]]:
    """Of each chunk: its name, the bytes that it promises to hold, and the byte at which they begin."""
    file_bytes = os.fstat(file.fileno()).st_size
    header_bytes = 24 if is_wave64 else 8
    alignment = 8 if is_wave64 else 2
    for _ in range(MAX_CHUNKS):
        at = file.tell()
        header = file.read(header_bytes)
        if len(header) < 8:
            return
        size = (
            int.from_bytes(header[16:], "little") - header_bytes if is_wave64 else int.from_bytes(header[4:], "little")
        )
        size = max(0, size)
        content_at = at + len(header)
        yield header[:4], size, content_at
        next_at = content_at + -(-size // alignment) * alignment
        if next_at > file_bytes:
            return
        file.seek(next_at)
