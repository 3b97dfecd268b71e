"""The one way in which this service encodes frames: H.264, BT.709, with the same bytes for the same frames."""

import av
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from render.engines.base import FPS

# The output of x264 depends on the number of its threads, so the number must not depend on the machine.
THREADS = 4


def add_h264_stream(container: OutputContainer, width: int, height: int) -> VideoStream:
    """Add an 8-bit 4:2:0 track at FPS. No B-frames, so frames leave in the order in which they are shown."""
    stream = container.add_stream(
        "libx264",
        rate=FPS,
        options={
            "preset": "veryfast",
            "crf": "18",
            "bf": "0",
            # With AVX-512, one IDR frame in some hundreds gets other bytes (x264 of PyAV 18.1, AMD EPYC).
            "x264-params": "open-gop=0:asm=avx2",
            "flags": "+bitexact+cgop",
        },
    )
    stream.width = width
    stream.height = height
    stream.pix_fmt = "yuv420p"
    stream.gop_size = 2 * FPS  # a player can seek to every second second
    stream.codec_context.thread_count = THREADS
    set_bt709(stream.codec_context)
    return stream


def set_bt709(context: VideoCodecContext) -> None:
    """Let the file say that its colors are limited-range BT.709, which `Rgb709Converter` makes."""
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG


class Rgb709Converter:
    """Converts RGB to limited-range BT.709 (ITU-R BT.709-6) 4:2:0, with the same result on every processor."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        return self._reformatter.reformat(
            frame,
            format="yuv420p",
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        )
