"""A film whose lips are to be dubbed, as the engines want it: upright, 25 frames per second, H.264, without sound."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from accounts.errors import ServiceError
from render.engines.base import FPS
from render.media.image.portrait import MIN_SIDE
from render.media.reading.damage import Damage
from render.media.reading.decode_cost import MAX_FILM_PIXELS
from render.media.reading.demux import decoded_size, decoding, moving_picture, open_source, skim, video_frames
from render.media.reading.frame_times import FilmTimes, start_seconds
from render.media.video import filters
from render.media.video.h264 import add_h264_stream
from render.media.whole_file import whole_file

MAX_SIDE = 1920  # pixels
CANNOT_BE_DECODED = "The film is damaged or was cut off, so that it cannot be decoded. Send it again, or the original."


@dataclass(frozen=True)
class SourceVideo:
    path: Path
    width: int  # pixels, even
    height: int
    num_frames: int  # at FPS
    lost_seconds: float = 0.0  # of what was read of the source, and could not be decoded


def normalise_video(source: Path, destination_mp4: Path, *, max_seconds: float, param: str) -> SourceVideo:
    """Write the first `max_seconds` of the film's video track as players show it, with square pixels and constant FPS.

    Upright, without the comb of interlaced frames, on white where it is transparent, in the colours of BT.709. Frames
    are doubled or dropped by their time stamps. Where the sound begins first, the first frame is shown from then on.
    Sides are even and at most 1920 pixels. Raises ServiceError: video_invalid, also where more is missing than
    `render.media.reading.damage` allows; image_too_large, image_too_small, media_too_complex.
    """
    invalid = ServiceError("video_invalid", CANNOT_BE_DECODED, param=param)
    with decoding(invalid):
        container = open_source(source)
    with container, whole_file(destination_mp4) as partial:
        stream = moving_picture(container)
        if stream is None:
            raise ServiceError("video_invalid", "The file has no video track that can be read.", param=param)
        _check_pixels(*decoded_size(stream.codec_context), param)  # before memory is taken
        damage = Damage(invalid)
        frames = islice(_resampled(source, container, stream, damage, invalid), int(max_seconds * FPS))
        first = next(frames, None)
        if first is None:
            raise invalid
        with av.open(str(partial), mode="w", format="mp4", options={"fflags": "+bitexact"}) as target:
            video = add_h264_stream(target, first.width, first.height)
            for count, frame in enumerate(chain([first], frames), start=1):
                frame.pts = count - 1
                frame.time_base = Fraction(1, FPS)
                target.mux(video.encode(frame))
            target.mux(video.encode(None))
        lost_in_film = damage.lost_seconds - damage.lost_at_end_seconds  # frames before it stand for so long
        damage.read_seconds = max(1 / FPS, count / FPS - lost_in_film)
        lost_seconds = damage.settle()
    return SourceVideo(destination_mp4, first.width, first.height, count, lost_seconds)


def check_film(source: Path, *, param: str) -> None:
    """Raise ServiceError video_invalid when more of the film was cut off than `render.media.reading.damage` allows."""
    invalid = ServiceError("video_invalid", CANNOT_BE_DECODED, param=param)
    with decoding(invalid):
        container = open_source(source)
    with container:
        stream = moving_picture(container)
        if stream is None:
            raise invalid
        damage = Damage(invalid)
        skim(container, stream, source=source, damage=damage)
        damage.settle()


def _check_pixels(width: int, height: int, param: str) -> None:
    if width * height > MAX_FILM_PIXELS:
        detail = f"The film is {width} x {height}; at most {MAX_FILM_PIXELS / 1e6:.1f} megapixels."
        raise ServiceError("image_too_large", detail, param=param)


def _resampled(
    source: Path, container: InputContainer, stream: VideoStream, damage: Damage, invalid: ServiceError
) -> Iterator[VideoFrame]:
    """All frames in the size of the first, at FPS."""
    graph: Graph | None = None
    start = start_seconds(container)
    times = FilmTimes(container.format.name, start)
    frames = video_frames(container, stream, source=source, damage=damage, param=invalid.param or "")
    for frame in _scaled(frames, stream, times, invalid):
        assert frame.time_base is not None
        if not frame.duration and stream.guessed_rate:  # Not stored; else the last frame would be dropped.
            frame.duration = round(1 / (stream.guessed_rate * frame.time_base))
        with decoding(invalid):
            graph = graph or _rate_graph(frame, start)
            yield from _filtered(graph, frame)
    if graph is not None:
        with decoding(invalid):
            yield from _filtered(graph, None)


def _scaled(
    frames: Iterator[VideoFrame], stream: VideoStream, times: FilmTimes, invalid: ServiceError
) -> Iterator[VideoFrame]:
    """Calls in a browser and recorders change the size of the picture, or turn it, in the middle of a film."""
    graph: Graph | None = None
    shape: object = None
    size: tuple[int, int] | None = None
    usual_seconds = float(1 / stream.guessed_rate) if stream.guessed_rate else 0.0
    for frame in frames:
        _check_pixels(frame.width, frame.height, invalid.param or "")
        if frame.pts is None:  # AVI stores no time of display; the order of decoding is the next best
            frame.pts = frame.dts
        times.correct(frame, usual_seconds)
        if shape != (found := _shape(frame)):
            with decoding(invalid):
                if graph is not None:
                    yield from _filtered(graph, None)
                size = size or _first_size(frame, stream, invalid.param or "")
                graph, shape = _scale_graph(frame, stream, size), found
        assert graph is not None
        with decoding(invalid):
            yield from _filtered(graph, frame)
    if graph is not None:
        with decoding(invalid):
            yield from _filtered(graph, None)


def _shape(frame: VideoFrame) -> object:
    """What a graph of filters is made for: it cannot take frames of another shape."""
    colours = frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries
    return frame.width, frame.height, frame.format.name, colours, filters.orientation(frame)


def _filtered(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """What leaves the graph for one more frame; None: there are no more."""
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
    scale = f"{inside[0]}:{inside[1]}:flags=bicubic+accurate_rnd+bitexact:{filters.scale_colours(frame)}"
    graph = Graph()
    nodes = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base),
        *(graph.add(name, args) for name, args in filters.before_scaling(frame, stream)),
        graph.add("scale", scale),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
        # As players do, which show a picture of another shape whole.
        *([graph.add("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2")] if inside != size else []),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _rate_graph(frame: VideoFrame, start: float) -> Graph:
    """From the second `start` on. After the scaling: a frame that stands for minutes is scaled once."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("fps", f"{FPS}:start_time={start:.6f}"), graph.add("buffersink")).configure()
    return graph


def _first_size(frame: VideoFrame, stream: VideoStream, param: str) -> tuple[int, int]:
    width, height = _display_size(frame, stream)
    if min(width, height) < MIN_SIDE:
        detail = f"The film is shown at {width} x {height}; at least {MIN_SIDE} pixels across are needed."
        raise ServiceError("image_too_small", detail, param=param)
    return width, height


def _display_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    aspect = float(stream.sample_aspect_ratio or 1)
    width, height = frame.width * max(aspect, 1), frame.height / min(aspect, 1)  # never fewer pixels than stored
    is_transposed, _, _ = filters.orientation(frame)
    if is_transposed:
        width, height = height, width
    shrink = min(1.0, MAX_SIDE / max(width, height))
    return 2 * round(width * shrink / 2), 2 * round(height * shrink / 2)
