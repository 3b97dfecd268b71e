"""Audio frames made from samples, as PyAV can make them."""

from fractions import Fraction
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

SAMPLE_TYPES: dict[str, Any] = {  # by FFmpeg's names of the interleaved formats
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


def audio_frame(samples: NDArray[Any], *, sample_format: str, layout: str, rate: int, start: int) -> AudioFrame:
    """samples: channels x samples for a planar format, 1 x interleaved samples for another. start: its first sample."""
    frame = AudioFrame.from_ndarray(samples, format=sample_format, layout=layout)
    frame.sample_rate = rate
    frame.pts = start
    frame.time_base = Fraction(1, rate)
    return frame


def frame_like(frame: AudioFrame, samples: NDArray[Any]) -> AudioFrame:
    """A frame of the format, layout and rate of `frame`, without a time. samples: samples x channels.

    It is made interleaved and then converted: PyAV 18.1 cannot make a planar frame of eight channels, but FFmpeg can.
    """
    interleaved = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples).reshape(1, -1), format=frame.format.packed.name, layout=frame.layout.name
    )
    interleaved.sample_rate = frame.sample_rate
    (converted,) = AudioResampler(format=frame.format.name).resample(interleaved)
    return converted
