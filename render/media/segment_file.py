"""The files in which rendered segments wait for their film: MPEG-TS, whose pieces can be joined without re-encoding."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.media.h264 import Rgb709Converter, add_h264_stream
from render.media.whole_file import whole_file

# `mpegts_copyts`: without it the muxer shifts all times by its delay.
TS_OPTIONS = {"mpegts_copyts": "1", "fflags": "+bitexact"}


def encode_segment(frames: NDArray[np.uint8], path: Path, start_frame: int) -> None:
    """Encode frames (T x H x W x 3, RGB, H and W even) to a piece of MPEG-TS that starts at `start_frame` / FPS s.

    The piece stands alone: it begins with an IDR picture and its parameter sets. Equal frames give equal bytes.
    """
    _, height, width, _ = frames.shape
    convert = Rgb709Converter()
    with (
        whole_file(path) as partial,
        av.open(str(partial), mode="w", format="mpegts", options=TS_OPTIONS) as container,
    ):
        stream = add_h264_stream(container, width, height)
        for number, pixels in enumerate(frames, start=start_frame):
            frame = convert(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def count_frames(path: Path) -> int:
    """How many frames a segment or film has, without decoding. Raises av.error.FFmpegError when it cannot be read."""
    with av.open(str(path), mode="r") as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
