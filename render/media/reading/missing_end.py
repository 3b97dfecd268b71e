"""How many seconds of a track are missing after its last packet, because the file was cut off.

A length in a header counts for nothing by itself: recorders write wrong ones, or none when they stream. These count: an
index of packets, a number of frames or bytes, or a duration in a file which is also shorter than it should be.
"""

import re
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from render.media.containers.container_walk import ContainerWalk
from render.media.containers.joined_files import FileRanges
from render.media.reading import header_lengths
from render.media.reading.damage import Damage

MAX_ROUNDING = 0.05  # seconds by which a promised duration may be longer than the packets
# Streaming programs write 0, the largest number, or one near 2 or 4 GiB; no customer's file is so large.
UNKNOWN_BYTES = 0x7FFF0000
MIN_REST_BYTES = 4096  # after the last packet of an AVI; fewer are padding


def missing_seconds(
    container: InputContainer,
    stream: AudioStream | VideoStream,
    walk: ContainerWalk,
    *,
    damage: Damage,
    samples: int,
    latest_seconds: float,
) -> float:
    """samples: decoded, of an audio track. latest_seconds: when the latest packet of any track ends."""
    formats = set(container.format.name.split(","))
    promised = container.duration / 1e6 if container.duration else 0.0  # AV_TIME_BASE: microseconds
    if "mp4" in formats:
        missing = _missing_of_index(stream, damage)
        return missing or _missing_of_fragments(walk, damage, promised - latest_seconds)
    if "avi" in formats:
        return _missing_of_index(stream, damage) or _missing_of_avi(stream, walk.source, damage, latest_seconds)
    if "matroska" in formats:
        return _missing_of_matroska(stream, walk, damage, promised, latest_seconds)
    if "asf" in formats:
        size, seconds = header_lengths.asf_size_and_seconds(header_lengths.read_head(walk.source))
        is_cut = _is_shorter(walk.source, size) or damage.is_broken_from_last_packet()
        return max(0.0, seconds - latest_seconds) if is_cut else 0.0
    if "flv" in formats:
        # Its packets do not tell their durations: the last one of a slide show lasts for a second.
        end = max(latest_seconds, damage.end_seconds, damage.last_seconds + damage.step_seconds)
        return _over_rounding(promised - end)
    if isinstance(stream, AudioStream) and samples:
        return _missing_of_audio(stream, formats, walk.source, damage, samples, promised or latest_seconds)
    return 0.0


def _missing_of_index(stream: AudioStream | VideoStream, damage: Damage) -> float:
    """By the index of packets. Not by `stream.frames`: that counts packets which an edit list leaves out."""
    entries = stream.index_entries
    if len(entries) <= damage.packets or stream.time_base is None:
        return 0.0
    last = entries[len(entries) - 1].timestamp
    latest = entries[0].timestamp if damage.last_stamp is None else damage.last_stamp
    return max(0.0, float((last - latest) * stream.time_base))


def _missing_of_fragments(walk: ContainerWalk, damage: Damage, missing_by_duration: float) -> float:
    """FFmpeg may stop after a broken fragment: then by the bytes that no packet has covered."""
    if not isinstance(walk.source, Path) or not damage.end_byte:
        return 0.0
    if walk.mp4.is_cut and missing_by_duration > MAX_ROUNDING:
        return missing_by_duration
    if not damage.is_broken_from_last_packet() or walk.mp4.end <= damage.end_byte:
        return 0.0
    seconds_a_byte = damage.end_seconds / max(1, damage.end_byte - damage.first_byte)
    return (walk.mp4.end - damage.end_byte) * seconds_a_byte


def _missing_of_avi(
    stream: AudioStream | VideoStream, source: Path | FileRanges, damage: Damage, latest_seconds: float
) -> float:
    """By the duration in the header, if the file is shorter than it should be, or goes on after its last packet."""
    head = header_lengths.read_head(source)
    end = header_lengths.avi_end(head)
    if end is None:
        return 0.0
    packets_end, file_bytes = end
    has_rest = 0 < damage.end_byte < packets_end - MIN_REST_BYTES and packets_end < UNKNOWN_BYTES
    if has_rest or _is_shorter(source, file_bytes):
        return max(0.0, header_lengths.avi_seconds(head, stream.index) - latest_seconds)
    return 0.0


def _missing_of_matroska(
    stream: AudioStream | VideoStream,
    walk: ContainerWalk,
    damage: Damage,
    promised: float,
    latest_seconds: float,
) -> float:
    """By the duration of the track, which most programs write and browsers do not, or else by that of the file."""
    of_track = _seconds_of_tag(stream.metadata.get("DURATION", ""))
    missing = of_track - damage.end_seconds if of_track else promised - latest_seconds
    if missing > MAX_ROUNDING and isinstance(walk.source, Path) and walk.matroska.may_be_cut:
        return missing
    # A broken part may have ended this track, while the others go on after it.
    missing = _over_rounding((of_track or max(promised, latest_seconds)) - damage.end_seconds)
    return missing if missing and damage.is_broken_from_last_packet() else 0.0


def _seconds_of_tag(duration: str) -> float:
    """The seconds of a text such as 00:01:02.500000000; 0 for any other text."""
    match = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)", duration)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else 0.0


def _missing_of_audio(
    stream: AudioStream,
    formats: set[str],
    source: Path | FileRanges,
    damage: Damage,
    samples: int,
    promised: float,
) -> float:
    """By the number of samples or frames that formats for audio promise."""
    rate = stream.codec_context.sample_rate
    if "flac" in formats:
        return max(0.0, promised - samples / rate)  # its packets are numbered by their samples
    if "mp3" in formats:
        frame_samples = 1152 if rate >= 32_000 else 576
        missing_frames = header_lengths.mp3_frames(header_lengths.read_head(source)) - damage.packets
        return max(0, missing_frames) * frame_samples / rate
    if formats & {"aiff", "caf"} and stream.codec_context.name.startswith("pcm_"):
        return max(0, stream.frames - samples) / rate
    if formats & {"wav", "w64", "au"} and isinstance(source, Path):
        start, size = header_lengths.wave_data(source)
        present = source.stat().st_size - start
        return (samples / rate) * (size - present) / present if 0 < present < size < UNKNOWN_BYTES else 0.0
    return 0.0


def _over_rounding(seconds: float) -> float:
    return seconds if seconds > MAX_ROUNDING else 0.0


def _is_shorter(source: Path | FileRanges, size: int) -> bool:
    """Whether the file has fewer bytes than its header promises."""
    return isinstance(source, Path) and source.stat().st_size < size < UNKNOWN_BYTES
