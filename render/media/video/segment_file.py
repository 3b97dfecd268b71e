"""The files of rendered segments: MPEG-TS, which can be played by itself and is joined without re-encoding."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.media.atomic_file import atomic_file
from render.media.audio.segment_audio import SegmentAudio
from render.media.video.h264 import Rgb709Converter, add_h264_stream

# `mpegts_copyts`: without it the muxer shifts all times by its delay. `initial_discontinuity`: each file counts its
# packets from 0, and a reader of joined files would report lost packets (ISO/IEC 13818-1, continuity_counter).
TS_OPTIONS = {"mpegts_copyts": "1", "mpegts_flags": "initial_discontinuity", "fflags": "+bitexact"}


def encode_segment(
    frames: Iterable[NDArray[np.uint8]], path: Path, start_frame: int, *, audio: SegmentAudio | None = None
) -> None:
    """Encode frames (H x W x 3, RGB, H and W even) to an MPEG-TS file that starts at `start_frame` / FPS seconds.

    frames: an array, or frames that are made one by one while they are encoded; at least one.
    The file begins with an IDR frame and its parameter sets, so that it can be a media segment of HLS (RFC 8216, 3.2).
    It holds the audio packets that start while its frames are shown. Equal frames and an equal mix give equal bytes.
    Raises ServiceError audio_invalid when a voice cannot be decoded.
    """
    frames = iter(frames)
    first = next(frames)
    height, width, _ = first.shape
    convert = Rgb709Converter()
    with (
        atomic_file(path) as partial,
        av.open(str(partial), mode="w", format="mpegts", options=TS_OPTIONS) as container,
    ):
        video_stream = add_h264_stream(container, width, height)
        audio_stream = audio.add_stream(container) if audio else None
        for number, pixels in enumerate(chain([first], frames), start=start_frame):
            if audio and audio_stream:
                for packet in audio.packets(number):
                    packet.stream = audio_stream
                    container.mux(packet)
            frame = convert(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            container.mux(video_stream.encode(frame))
        container.mux(video_stream.encode(None))
