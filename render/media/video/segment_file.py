"""The files in which rendered segments wait for their film, and can be watched: MPEG-TS, joined without re-encoding."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.media.video.h264 import Rgb709Converter, add_h264_stream
from render.media.video.segment_audio import SegmentSound
from render.media.whole_file import whole_file

# `mpegts_copyts`: without it the muxer shifts all times by its delay. `initial_discontinuity`: each piece counts its
# packets from 0 again, which a reader of joined pieces would take for lost ones (ISO/IEC 13818-1, continuity_counter).
TS_OPTIONS = {"mpegts_copyts": "1", "mpegts_flags": "initial_discontinuity", "fflags": "+bitexact"}


def encode_segment(
    frames: NDArray[np.uint8], path: Path, start_frame: int, *, sound: SegmentSound | None = None
) -> None:
    """Encode frames (T x H x W x 3, RGB, H and W even) to a piece of MPEG-TS that starts at `start_frame` / FPS s.

    The piece stands alone: it begins with an IDR picture and its parameter sets, so that it can be a media segment of
    HLS (RFC 8216, 3.2). Its sound is what starts while its frames are shown. Equal frames and an equal mix give equal
    bytes. Raises ServiceError audio_invalid when a sound cannot be decoded.
    """
    _, height, width, _ = frames.shape
    convert = Rgb709Converter()
    with (
        whole_file(path) as partial,
        av.open(str(partial), mode="w", format="mpegts", options=TS_OPTIONS) as container,
    ):
        stream = add_h264_stream(container, width, height)
        audio = sound.add_stream(container) if sound else None
        for number, pixels in enumerate(frames, start=start_frame):
            if sound and audio:
                for packet in sound.packets(number):
                    packet.stream = audio
                    container.mux(packet)
            frame = convert(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def count_frames(path: Path) -> int:
    """How many frames a segment or film has, without decoding. Raises av.error.FFmpegError when it cannot be read."""
    with av.open(str(path), mode="r") as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
