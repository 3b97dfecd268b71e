"""Decode the audio and video tracks of customers' files to their ends, and count in `damage` what cannot be decoded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from render.media.containers.amr_pauses import silence_of
from render.media.containers.container_walk import ContainerWalk
from render.media.containers.joined_files import FileRanges
from render.media.reading.damage import Damage
from render.media.reading.missing_end import missing_seconds
from render.media.reading.opening import DECODE_ERRORS
from render.media.reading.video_cost import MAX_VIDEO_PIXELS, VideoCost

# Matroska keeps the transparency of these codecs beside the image; only these decoders combine both.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
DECODER_THREADS = 4  # each keeps frames of its own in memory
USUAL_PACKET_SECONDS = 0.02  # for a track that does not tell
MAX_RESUMPTIONS = 100  # of a demuxer, in one file
Source = Path | FileRanges


def decoded_size(*contexts: VideoCodecContext) -> tuple[int, int]:
    """The largest width and height that are decoded, in pixels: a video may say that all but a corner is cropped off.

    Known with the first frame; before it, this is the size that is shown.
    """
    width = max(max(context.width, context.coded_width) for context in contexts)
    height = max(max(context.height, context.coded_height) for context in contexts)
    return width, height


def video_frames(
    container: InputContainer, stream: VideoStream, *, source: Path, damage: Damage, param: str
) -> Iterator[VideoFrame]:
    """Decode to the end, frame by frame; what cannot be decoded is left out, and counted by `damage`.

    Raises ServiceError: that of `damage`, or media_too_complex for frames that come faster than `video_cost` allows.
    """
    stream.thread_type = "AUTO"
    _limit(stream.codec_context)
    for frame in _frames(container, stream, source, damage, VideoCost(param, container.format.name)):
        if isinstance(frame, VideoFrame):
            yield frame


def audio_frames(
    container: InputContainer, stream: AudioStream, *, source: Source, damage: Damage
) -> Iterator[AudioFrame]:
    """Decode to the end, frame by frame; what cannot be decoded is left out, and counted by `damage`.

    Raises the ServiceError of `damage`, when too much is left out.
    """
    for frame in _frames(container, stream, source, damage, None):
        if isinstance(frame, AudioFrame):
            yield frame


def scan_packets(container: InputContainer, stream: VideoStream, *, source: Path, damage: Damage) -> None:
    """Go through the packets of a video to its end without decoding them.

    Finds what was cut off or lies in a broken part of the file, and not what is damaged within a packet.
    """
    walk = _begin(container, stream, source, damage)
    latest_seconds = 0.0
    for packet, end_seconds in _packets(container, damage):
        latest_seconds = max(latest_seconds, end_seconds)
        if packet.size and packet.stream.index == stream.index:
            damage.passes(packet)
            if packet.is_corrupt:
                damage.fails(packet)
            else:
                damage.decoded()
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    damage.read_seconds = max(0.0, damage.end_seconds - start - damage.lost_seconds)
    damage.ends_early(missing_seconds(container, stream, walk, damage=damage, samples=0, latest_seconds=latest_seconds))


def _begin(
    container: InputContainer, stream: VideoStream | AudioStream, source: Source, damage: Damage
) -> ContainerWalk:
    if isinstance(stream, VideoStream):
        rate = stream.average_rate or stream.guessed_rate
        packet_seconds = float(1 / rate) if rate else 0.0
    else:
        context = stream.codec_context
        packet_seconds = context.frame_size / context.sample_rate if context.sample_rate else 0.0
    walk = ContainerWalk(source, container.format.name)
    tick_seconds = float(stream.time_base or 0)
    damage.begin(container.format.name, tick_seconds, packet_seconds or USUAL_PACKET_SECONDS, walk.is_broken_between)
    return walk


def _limit(context: VideoCodecContext) -> None:
    context.thread_count = DECODER_THREADS
    context.options = {"max_pixels": str(MAX_VIDEO_PIXELS)}


def _alpha_decoder(stream: VideoStream | AudioStream) -> VideoCodecContext | None:
    """A decoder for a video whose transparency lies beside its image; None for every other track."""
    name = ALPHA_DECODERS.get(stream.codec_context.name) if stream.metadata.get("alpha_mode") == "1" else None
    if name is None:
        return None
    context = cast(VideoCodecContext, CodecContext.create(name, "r"))
    context.extradata = stream.codec_context.extradata
    _limit(context)
    return context


def _frames(
    container: InputContainer,
    stream: VideoStream | AudioStream,
    source: Source,
    damage: Damage,
    cost: VideoCost | None,
) -> Iterator[VideoFrame | AudioFrame]:
    walk = _begin(container, stream, source, damage)
    # A recorder that streams a WAV cannot know its length, and FFmpeg reports the last packet of that WAV as corrupt.
    is_uncompressed = stream.codec_context.name.startswith("pcm_")
    alpha = _alpha_decoder(stream)
    samples, latest_seconds = 0, 0.0
    for packet, end_seconds in _packets(container, damage):
        latest_seconds = max(latest_seconds, end_seconds)
        if packet.stream.index != stream.index:  # not `stream_index`, which the last, empty packet does not have
            continue
        is_corrupt = packet.is_corrupt and not is_uncompressed
        if packet.size:
            damage.passes(packet)
            if cost is not None and isinstance(stream, VideoStream):
                contexts = [stream.codec_context, alpha] if alpha else [stream.codec_context]
                cost.add(packet, *decoded_size(*contexts))
            if is_corrupt and isinstance(stream, VideoStream):
                damage.fails(packet)  # It is decoded all the same: half an image looks better than none.
            elif is_corrupt and container.format.name == "mpegts":
                damage.tears()  # Some of it is missing in or after this packet; most of the rest can be heard.
            elif is_corrupt:
                damage.fails(packet)
                continue
        try:
            frames = _decode(packet, stream, alpha)
        except MemoryError:
            raise
        except DECODE_ERRORS:
            if packet.size and not (is_corrupt and isinstance(stream, VideoStream)):
                damage.fails(packet)
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame | AudioFrame):
                damage.decoded()
                samples += frame.samples if isinstance(frame, AudioFrame) else 0
                yield frame
    damage.ends_early(
        missing_seconds(container, stream, walk, damage=damage, samples=samples, latest_seconds=latest_seconds)
    )


def _decode(
    packet: "Packet[Any]", stream: VideoStream | AudioStream, alpha: VideoCodecContext | None
) -> Sequence[object]:
    silence = silence_of(packet, stream) if isinstance(stream, AudioStream) else None
    if silence:
        return [silence]
    if alpha:
        return alpha.decode(packet if packet.size else None)
    return packet.decode()


def _packets(container: InputContainer, damage: Damage) -> Iterator[tuple["Packet[Any]", float]]:
    """The packets of all tracks, each with the second at which it ends; 0 when the container does not tell.

    A demuxer that meets a broken part can often resume behind it.
    """
    tick_seconds = [float(stream.time_base or 0) for stream in container.streams]
    for _ in range(MAX_RESUMPTIONS):
        try:
            for packet in container.demux():
                is_timed = packet.size and packet.dts is not None and packet.stream_index < len(tick_seconds)
                damage.covers(packet)
                end = (packet.dts or 0) + (packet.duration or 0)
                yield packet, end * tick_seconds[packet.stream_index] if is_timed else 0.0
        except MemoryError:
            raise
        except (*DECODE_ERRORS, IndexError):  # IndexError: a broken part looks like a track that was not there before
            damage.tears()
            continue
        return
