"""The finished video: segments joined as they are, with the mix of the voices, and its poster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from PIL import Image

from render.engines.base import FPS
from render.media.atomic_file import atomic_file
from render.media.audio.aac import add_aac_stream, encode_mix
from render.media.audio.mix import open_mix

AI_GENERATED = "AI-generated video: the images were made by a model from a portrait or a video and a voice."
# `faststart`: a browser can play while it loads. `bitexact`: neither a creation time nor a library's version.
MP4_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}


def assemble_video(
    segments: Sequence[Path],
    voices: Sequence[tuple[Path, float]],
    num_frames: int,
    destination_mp4: Path,
    *,
    title: str | None = None,
    on_joined: Callable[[], None] = lambda: None,
) -> None:
    """Join segments (of `encode_segment`, in order) and mix `voices`: pairs of a file and the second it starts at.

    The video packets are copied. The audio is AAC, cut or padded to `num_frames` / FPS seconds. Equal inputs give equal
    bytes. on_joined: called after each segment. Raises ValueError when the segments do not add up to `num_frames` or
    were encoded differently, and ServiceError audio_invalid when a voice cannot be decoded.
    """
    with (
        atomic_file(destination_mp4) as partial,
        ExitStack() as files,
        av.open(str(partial), mode="w", format="mp4", options=MP4_OPTIONS) as output,
    ):
        output.metadata.update({"comment": AI_GENERATED, "description": AI_GENERATED})
        if title:
            output.metadata["title"] = title
        video = _add_copied_stream(output, segments[0])
        mix = open_mix(voices, files)
        audio = add_aac_stream(output, mix)

        count = 0
        # The mix has no end: the video packets decide.
        for packet, audio_packets in zip(
            _segment_packets(segments, video, on_joined), encode_mix(audio, mix), strict=False
        ):
            output.mux(packet)
            output.mux(audio_packets)
            count += 1
        output.mux(audio.encode(None))
        if count != num_frames:
            raise ValueError(f"{count} frames in the segments instead of {num_frames}")


def save_poster(segment: Path, destination_jpg: Path, *, frame: int = 0) -> None:
    """Save one frame of a segment or video as JPEG. Raises IndexError when it has fewer frames."""
    with av.open(str(segment), mode="r") as container:
        for number, decoded in enumerate(container.decode(container.streams.video[0])):
            if number == frame:
                with atomic_file(destination_jpg) as partial:
                    Image.fromarray(decoded.to_ndarray(format="rgb24")).save(partial, "JPEG", quality=90)
                return
    raise IndexError(f"no frame {frame}")


def _add_copied_stream(output: OutputContainer, segment: Path) -> VideoStream:
    with av.open(str(segment), mode="r") as container:
        stream = output.add_stream_from_template(container.streams.video[0])
    stream.time_base = Fraction(1, FPS)
    return stream


def _segment_packets(
    segments: Sequence[Path], video: VideoStream, on_joined: Callable[[], None]
) -> "Iterator[Packet[VideoStream]]":
    """The packets of all segments, numbered from 0: the times in the files are not needed."""
    number = 0
    for segment in segments:
        with av.open(str(segment), mode="r") as container:
            source = container.streams.video[0]
            if source.codec_context.extradata != video.codec_context.extradata:
                raise ValueError("the segments were encoded differently")  # an mp4 track has one set of parameters
            for packet in container.demux(source):
                if not packet.size:
                    continue
                packet.stream = video
                packet.time_base = Fraction(1, FPS)
                packet.pts = packet.dts = number
                packet.duration = 1
                number += 1
                yield packet
        on_joined()
