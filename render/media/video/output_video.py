"""The finished film: segments joined as they are, the voices mixed under them."""

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
from render.media.audio.aac import add_aac_stream, encode_mix
from render.media.audio.mix import open_mix
from render.media.whole_file import whole_file

AI_GENERATED = "AI-generated video: the picture was made by a model from a portrait or a film and a voice."
# `faststart`: a browser can play while it loads. `bitexact`: neither a creation time nor a library's version.
MP4_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}


def assemble_film(
    segments: Sequence[Path],
    sound: Sequence[tuple[Path, float]],
    num_frames: int,
    destination_mp4: Path,
    *,
    title: str | None = None,
    tell_joined: Callable[[], None] = lambda: None,
) -> None:
    """Join segments (of `encode_segment`, in order) and mix `sound`: pairs of a file and the second at which it starts.

    The video packets are copied. The sound is AAC, cut or padded to `num_frames` / FPS seconds. Equal inputs give
    equal bytes. `tell_joined` is called after each segment. Raises ValueError when the segments do not make up
    `num_frames` frames encoded alike, and ServiceError audio_invalid when a sound cannot be decoded.
    """
    with (
        whole_file(destination_mp4) as partial,
        ExitStack() as files,
        av.open(str(partial), mode="w", format="mp4", options=MP4_OPTIONS) as film,
    ):
        film.metadata.update({"comment": AI_GENERATED, "description": AI_GENERATED})
        if title:
            film.metadata["title"] = title
        video = _add_copied_stream(film, segments[0])
        mix = open_mix(sound, files)
        audio = add_aac_stream(film, mix)

        packets = _joined(segments, video, tell_joined)
        count = 0
        for packet, sound_packets in zip(packets, encode_mix(audio, mix), strict=False):
            film.mux(packet)
            film.mux(sound_packets)
            count += 1
        film.mux(audio.encode(None))
        if count != num_frames:
            raise ValueError(f"{count} frames in the segments instead of {num_frames}")


def poster(segment: Path, destination_jpg: Path, *, frame: int = 0) -> None:
    """Save one frame of a segment or film as JPEG. Raises IndexError when it has fewer frames."""
    with av.open(str(segment), mode="r") as container:
        for number, picture in enumerate(container.decode(container.streams.video[0])):
            if number == frame:
                with whole_file(destination_jpg) as partial:
                    Image.fromarray(picture.to_ndarray(format="rgb24")).save(partial, "JPEG", quality=90)
                return
    raise IndexError(f"no frame {frame}")


def _add_copied_stream(film: OutputContainer, segment: Path) -> VideoStream:
    with av.open(str(segment), mode="r") as container:
        stream = film.add_stream_from_template(container.streams.video[0])
    stream.time_base = Fraction(1, FPS)
    return stream


def _joined(
    segments: Sequence[Path], video: VideoStream, tell_joined: Callable[[], None]
) -> "Iterator[Packet[VideoStream]]":
    """The packets of all segments, numbered through from 0: the times in the files are not needed."""
    number = 0
    for segment in segments:
        with av.open(str(segment), mode="r") as container:
            source = container.streams.video[0]
            if source.codec_context.extradata != video.codec_context.extradata:
                raise ValueError("the segments were not encoded alike")  # an mp4 track has one parameter set for all
            for packet in container.demux(source):
                if not packet.size:
                    continue
                packet.stream = video
                packet.time_base = Fraction(1, FPS)
                packet.pts = packet.dts = number
                packet.duration = 1
                number += 1
                yield packet
        tell_joined()
