"""A source video normalised for the engines: upright, 25 frames per second, H.264, without audio."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from math import ceil
from pathlib import Path

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from accounts.errors import ServiceError
from render.engines.base import FPS
from render.media.atomic_file import atomic_file
from render.media.image.portrait import MIN_SIDE
from render.media.reading.damage import Damage
from render.media.reading.decoding import decoded_size, scan_packets, video_frames
from render.media.reading.frame_times import FrameTimes, start_seconds
from render.media.reading.opening import decode_errors_as, open_source, video_track
from render.media.reading.video_cost import MAX_VIDEO_PIXELS
from render.media.video import filters
from render.media.video.h264 import add_h264_stream

MAX_SIDE = 1920  # pixels
CANNOT_BE_DECODED = "The video is damaged or was cut off and cannot be decoded. Send it again, or send the original."


@dataclass(frozen=True)
class SourceVideo:
    path: Path
    width: int  # pixels, even
    height: int
    num_frames: int  # at FPS
    lost_seconds: float = 0.0  # of the part of the source that was read, that could not be decoded


def normalise_video(source: Path, destination_mp4: Path, *, max_seconds: float, param: str) -> SourceVideo:
    """Write the first `max_seconds` of the video track as players show it, with square pixels and constant FPS.

    The result is upright, deinterlaced, on white where the source is transparent, and in the colors of BT.709. Frames
    are doubled or dropped by their time stamps. If the audio begins first, the first frame is shown from its start.
    Sides are even and at most 1920 pixels. Raises ServiceError: video_invalid, also when more is missing than
    `render.media.reading.damage` allows; image_too_large, image_too_small, media_too_complex.
    """
    invalid = ServiceError("video_invalid", CANNOT_BE_DECODED, param=param)
    with decode_errors_as(invalid):
        container = open_source(source)
    with container, atomic_file(destination_mp4) as partial:
        stream = video_track(container)
        if stream is None:
            raise ServiceError("video_invalid", "The file has no video track that can be read.", param=param)
        _check_pixels(*decoded_size(stream.codec_context), param)  # before memory is taken
        damage = Damage(invalid)
        # Rounded: 29 / 25 * 25 is a little less than 29. Up: a voice of 1.03 s is dubbed onto 26 frames, not onto 25.
        most = ceil(round(max_seconds * FPS, 3))
        frames = islice(_resampled(source, container, stream, damage, invalid), most)
        first = next(frames, None)
        if first is None:
            raise invalid
        with av.open(str(partial), mode="w", format="mp4", options={"fflags": "+bitexact"}) as target:
            video = add_h264_stream(target, first.width, first.height)
            num_frames = 0
            for frame in chain([first], frames):
                frame.pts = num_frames
                frame.time_base = Fraction(1, FPS)
                target.mux(video.encode(frame))
                num_frames += 1
            target.mux(video.encode(None))
        # For what is lost in the middle, the frame before it is repeated: that is not read.
        lost_in_middle = damage.lost_seconds - damage.lost_at_end_seconds
        damage.read_seconds = max(1 / FPS, num_frames / FPS - lost_in_middle)
        lost_seconds = damage.settle()
    return SourceVideo(destination_mp4, first.width, first.height, num_frames, lost_seconds)


def check_video(source: Path, *, param: str) -> None:
    """Raise ServiceError video_invalid when more of the video is missing than `render.media.reading.damage` allows."""
    invalid = ServiceError("video_invalid", CANNOT_BE_DECODED, param=param)
    with decode_errors_as(invalid):
        container = open_source(source)
    with container:
        stream = video_track(container)
        if stream is None:
            raise invalid
        damage = Damage(invalid)
        scan_packets(container, stream, source=source, damage=damage)
        damage.settle()


def _check_pixels(width: int, height: int, param: str) -> None:
    if width * height > MAX_VIDEO_PIXELS:
        most = MAX_VIDEO_PIXELS / 1e6
        detail = f"The video has {width} x {height} pixels. At most {most:.1f} megapixels are allowed."
        raise ServiceError("image_too_large", detail, param=param)


def _resampled(
    source: Path, container: InputContainer, stream: VideoStream, damage: Damage, invalid: ServiceError
) -> Iterator[VideoFrame]:
    """Yield all frames in the size of the first, at FPS."""
    graph: Graph | None = None
    start = start_seconds(container)
    times = FrameTimes(container.format.name, start)
    frames = video_frames(container, stream, source=source, damage=damage, param=invalid.param or "")
    for frame in _scaled(frames, stream, times, invalid):
        assert frame.time_base is not None
        if not frame.duration and stream.guessed_rate:  # without a duration, the filter would drop the last frame
            frame.duration = round(1 / (stream.guessed_rate * frame.time_base))
        with decode_errors_as(invalid):
            graph = graph or _rate_graph(frame, start)
            yield from _filtered(graph, frame)
    if graph is not None:
        with decode_errors_as(invalid):
            yield from _filtered(graph, None)


def _scaled(
    frames: Iterator[VideoFrame], stream: VideoStream, times: FrameTimes, invalid: ServiceError
) -> Iterator[VideoFrame]:
    """Yield the frames in one size. Recorders and calls in a browser change or turn their frames within a video."""
    graph: Graph | None = None
    graph_input: object = None
    size: tuple[int, int] | None = None
    usual_seconds = float(1 / stream.guessed_rate) if stream.guessed_rate else 0.0
    for frame in frames:
        _check_pixels(frame.width, frame.height, invalid.param or "")
        if frame.pts is None:  # AVI stores no time of display; the time of decoding is the next best
            frame.pts = frame.dts
        times.correct(frame, usual_seconds)
        if graph_input != _graph_input(frame):
            with decode_errors_as(invalid):
                if graph is not None:
                    yield from _filtered(graph, None)
                size = size or _first_size(frame, stream, invalid.param or "")
                graph, graph_input = _scale_graph(frame, stream, size), _graph_input(frame)
        assert graph is not None
        with decode_errors_as(invalid):
            yield from _filtered(graph, frame)
    if graph is not None:
        with decode_errors_as(invalid):
            yield from _filtered(graph, None)


def _graph_input(frame: VideoFrame) -> object:
    """The properties for which a filter graph is made: when one changes, a new graph is needed."""
    colors = frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries
    return frame.width, frame.height, frame.format.name, colors, filters.orientation(frame)


def _filtered(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """Yield the frames that leave the graph after one more frame. None: there are no more."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):  # it wants more input, or all is out
            return


def _scale_graph(frame: VideoFrame, stream: VideoStream, size: tuple[int, int]) -> Graph:
    width, height = size
    shown = _display_size(frame, stream)
    shrink = min(width / shown[0], height / shown[1])
    inside = (2 * round(shown[0] * shrink / 2), 2 * round(shown[1] * shrink / 2)) if shown != size else size
    scale = f"{inside[0]}:{inside[1]}:flags=bicubic+accurate_rnd+bitexact:{filters.color_arguments(frame)}"
    steps = [*filters.before_scaling(frame, stream), ("scale", scale), ("setsar", "1"), ("format", "yuv420p")]
    if inside != size:  # players show a frame of another shape whole, with bars beside it
        steps.append(("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"))
    steps.append(("buffersink", ""))
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base)
    graph.link_nodes(source, *(graph.add(name, arguments) for name, arguments in steps)).configure()
    return graph


def _rate_graph(frame: VideoFrame, start: float) -> Graph:
    """Makes FPS of any rate, from the second `start` on. It comes after the scaling, so that a frame is scaled once."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("fps", f"{FPS}:start_time={start:.6f}"), graph.add("buffersink")).configure()
    return graph


def _first_size(frame: VideoFrame, stream: VideoStream, param: str) -> tuple[int, int]:
    width, height = _display_size(frame, stream)
    if min(width, height) < MIN_SIDE:
        detail = f"The video is shown at {width} x {height} pixels. At least {MIN_SIDE} on each side are needed."
        raise ServiceError("image_too_small", detail, param=param)
    return width, height


def _display_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    aspect = float(stream.sample_aspect_ratio or 1)
    width, height = frame.width * max(aspect, 1), frame.height / min(aspect, 1)  # never fewer pixels than are stored
    is_transposed, _, _ = filters.orientation(frame)
    if is_transposed:
        width, height = height, width
    shrink = min(1.0, MAX_SIDE / max(width, height))
    return 2 * round(width * shrink / 2), 2 * round(height * shrink / 2)
