"""What a container says that lies behind the last packet which came: how much of the file was cut off.

A length in a header is not believed on its own: recorders write wrong ones, or none when they stream. What counts is
an index of packets, a count of frames or bytes, or a duration in a file which also says that it was longer.
"""

import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from render.media.containers import asf_packets, matroska_elements, mp4_fragments
from render.media.containers.joined_files import Stretches
from render.media.containers.mapped_file import mapped
from render.media.reading.damage import Damage

MOST_ROUNDING = 0.05  # seconds, by which a duration is more than the last packet's end
HEAD_BYTES = 65_536  # in which a header is looked for
# Streaming programs write 0, the largest number, or one near 2 or 4 GiB; no customer's file is so large.
UNKNOWN_BYTES = 0x7FFF0000
LEAST_REST = 4096  # bytes behind the last packet of an AVI, that are no padding
SAMPLES_A_FRAME = {True: 1152, False: 576}  # of mp3, from 32 kHz on and below


def missing_seconds(
    container: InputContainer,
    stream: AudioStream | VideoStream,
    source: Path | Stretches,
    *,
    damage: Damage,
    samples: int,
    latest_seconds: float,
) -> float:
    """samples: decoded of the sound. latest_seconds: where the latest packet of any track ends."""
    head = _head(source)
    names = set(container.format.name.split(","))
    claimed = container.duration / 1e6 if container.duration else 0.0  # AV_TIME_BASE: microseconds
    if names & {"mp4", "avi"}:
        missing = _missing_of_index(stream, damage)
        if "avi" in names and not missing and _is_avi_cut(head, source, damage):
            missing = max(0.0, _avi_seconds(head, stream.index) - latest_seconds)
        return missing or (_missing_of_fragments(source, damage, claimed, latest_seconds) if "mp4" in names else 0.0)
    if "matroska" in names:
        return _missing_of_matroska(stream, source, damage, claimed, latest_seconds)
    if "asf" in names:
        size, seconds = _asf_properties(head)
        is_cut = _is_shorter(source, size) or damage.is_broken_from_last_packet()
        return max(0.0, seconds - latest_seconds) if is_cut else 0.0
    if "flv" in names:
        # Its packets do not say how long they last: the last one of a slide show lasts for a second.
        missing = claimed - max(latest_seconds, damage.end_seconds, damage.last_seconds + damage.step_seconds)
        return missing if missing > MOST_ROUNDING else 0.0
    if not isinstance(stream, AudioStream) or not samples:
        return 0.0
    rate = stream.codec_context.sample_rate
    if "flac" in names:
        return max(0.0, (claimed or latest_seconds) - samples / rate)  # its packets are numbered by their samples
    if "mp3" in names:
        return max(0, _mp3_frames(head) - damage.packets) * SAMPLES_A_FRAME[rate >= 32_000] / rate
    if names & {"aiff", "caf"} and stream.codec_context.name.startswith("pcm_"):
        return max(0, stream.frames - samples) / rate
    if names & {"wav", "w64", "au"} and isinstance(source, Path):
        start, size = _wave_data(source)
        there = source.stat().st_size - start
        return (samples / rate) * (size - there) / there if 0 < there < size < UNKNOWN_BYTES else 0.0
    return 0.0


def _missing_of_index(stream: AudioStream | VideoStream, damage: Damage) -> float:
    # Not `stream.frames`: that counts packets which an edit list leaves out.
    entries = stream.index_entries
    if len(entries) <= damage.packets or stream.time_base is None:
        return 0.0
    last = entries[len(entries) - 1].timestamp
    first = entries[0].timestamp if damage.last_stamp is None else damage.last_stamp
    return max(0.0, float((last - first) * stream.time_base))


def _missing_of_fragments(source: Path | Stretches, damage: Damage, claimed: float, latest_seconds: float) -> float:
    """Behind a broken piece FFmpeg may stop: then by the bytes that no packet has covered."""
    if not isinstance(source, Path) or not damage.end_byte:
        return 0.0
    with mapped(source) as data:
        fragments = mp4_fragments.walk(data)
    if fragments.is_cut and claimed - latest_seconds > MOST_ROUNDING:
        return claimed - latest_seconds
    if not damage.is_broken_from_last_packet() or fragments.end <= damage.end_byte:
        return 0.0
    seconds_a_byte = damage.end_seconds / max(1, damage.end_byte - damage.first_byte)
    return (fragments.end - damage.end_byte) * seconds_a_byte


def _missing_of_matroska(
    stream: AudioStream | VideoStream, source: Path | Stretches, damage: Damage, claimed: float, latest_seconds: float
) -> float:
    own = _seconds_of_tag(stream.metadata.get("DURATION", ""))  # most programs write it, browsers do not
    missing = (own or claimed) - (damage.end_seconds if own else latest_seconds)
    if missing > MOST_ROUNDING and _may_be_cut(source):
        return missing
    # The file goes on, with other tracks or none, behind something broken.
    missing = (own or max(claimed, latest_seconds)) - damage.end_seconds
    return missing if missing > MOST_ROUNDING and damage.is_broken_from_last_packet() else 0.0


def _seconds_of_tag(duration: str) -> float:
    """Of a text such as 00:01:02.500000000; 0 when it is another."""
    found = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)", duration)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _may_be_cut(source: Path | Stretches) -> bool:
    if not isinstance(source, Path):
        return False
    with mapped(source) as data:
        return matroska_elements.walk(data).may_be_cut


def _is_avi_cut(head: bytes, source: Path | Stretches, damage: Damage) -> bool:
    """Whether the file is shorter than it says, or goes on where its packets end."""
    movi = head.find(b"movi")
    if movi < 8:
        return False
    end = movi + _little(head[movi - 4 : movi])
    has_rest = 0 < damage.end_byte < end - LEAST_REST and end < UNKNOWN_BYTES
    return has_rest or _is_shorter(source, 8 + _little(head[4:8]))


def _avi_seconds(head: bytes, number: int) -> float:
    """What the header of a track says. Raises nothing: a header that is too short says 0."""
    at = -1
    for _ in range(number + 1):
        at = head.find(b"strh", at + 1)
        if at < 0 or at + 44 > len(head):
            return 0.0
    scale, rate, _, length = struct.unpack_from("<4I", head, at + 28)
    return float(length * scale / rate) if rate else 0.0


def _asf_properties(head: bytes) -> tuple[int, float]:
    """The bytes of the file and the seconds that it plays, as its header says; 0 when it does not."""
    at = head.find(asf_packets.PROPERTIES)
    if at < 0 or at + 88 > len(head):
        return 0, 0.0
    size, _, _, duration, _, preroll = struct.unpack_from("<6Q", head, at + 40)
    return size, duration / 1e7 - preroll / 1e3  # in units of 100 ns, of ms


def _mp3_frames(head: bytes) -> int:
    """As the first frame says (Xing, VBRI); 0 when it does not."""
    at = 0
    if head[:3] == b"ID3" and len(head) > 10:
        at = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    frame = head[at : at + 200]
    for name in (b"Xing", b"Info"):
        found = frame.find(name)
        if found >= 0 and frame[found + 7 : found + 8] and frame[found + 7] & 1:
            return int.from_bytes(frame[found + 8 : found + 12], "big")
    found = frame.find(b"VBRI")
    return int.from_bytes(frame[found + 14 : found + 18], "big") if found >= 0 else 0


def _wave_data(path: Path) -> tuple[int, int]:
    """The first byte of the samples, and how many bytes there should be; 0 when nobody knows."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b".snd":
            offset, size = struct.unpack_from(">2I", start, 4)
            return offset, size
        is_wave64 = start[:4] == b"riff"
        file.seek(40 if is_wave64 else 12)
        for name, size, at in _chunks(file, is_wave64=is_wave64):
            if name == b"ds64":
                long_size = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"data":
                return at, long_size if start[:4] in (b"RF64", b"BW64") else size
    return 0, 0


def _chunks(file: io.BufferedReader, *, is_wave64: bool) -> Iterator[tuple[bytes, int, int]]:
    """Of each, its name, the bytes that it says it holds, and where they begin."""
    last = os.fstat(file.fileno()).st_size
    for _ in range(1000):
        at = file.tell()
        header = file.read(24 if is_wave64 else 8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[16:] if is_wave64 else header[4:], "little") - (24 if is_wave64 else 0)
        yield header[:4], max(0, size), at + len(header)
        align = 8 if is_wave64 else 2
        next_at = at + len(header) + -(-max(0, size) // align) * align
        if next_at > last:
            return
        file.seek(next_at)


def _head(source: Path | Stretches) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(HEAD_BYTES)
    source.seek(0)
    return source.read(HEAD_BYTES)


def _is_shorter(source: Path | Stretches, size: int) -> bool:
    return isinstance(source, Path) and source.stat().st_size < size < UNKNOWN_BYTES


def _little(number: bytes) -> int:
    return int.from_bytes(number, "little")
