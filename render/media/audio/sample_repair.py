"""Repairs the samples of a recording: broken numbers that would spoil the rest, and a voice in an unheard channel."""

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from render.media.reading.frame_samples import SAMPLE_TYPES, frame_like

MAX_LEVEL = 16.0  # times full scale: lossy formats and loud mixes stay far below, broken numbers do not
# Full scale of programs that write 16-bit integers as floats. The limiter turns such audio down as a whole.
MAX_INTEGER_LEVEL = 32_768
LOW_CHANNELS = {"LFE", "LFE2"}  # for low frequencies: a mix for one or two ears leaves them out
FRONT_CHANNELS = {"FL", "FR", "FC"}
SILENT_SHARE = 1e-3  # of the level of the low channels: a channel below it counts as silent
PLANAR_LIMIT = 8  # PyAV 18.1 cannot read planar frames of this many channels or more


class SampleRepair:
    """For one recording; takes its frames in order."""

    def __init__(self) -> None:
        self._has_only_low_channels = True  # so far

    def repair(self, frame: AudioFrame) -> AudioFrame:
        """Return the same frame, or a repaired one of the same length and time."""
        may_be_low = self._has_only_low_channels and frame.layout.nb_channels > 2
        names = [channel.name for channel in frame.layout.channels] if may_be_low else []
        has_low = bool(LOW_CHANNELS.intersection(names))
        if not has_low and _is_ordinary(frame):
            return frame
        samples = _samples(frame)
        repaired = _without_broken_numbers(samples) if samples.dtype.kind == "f" else samples
        if has_low:
            repaired = self._with_low_in_front(repaired, names)
        if repaired is samples:
            return frame
        result = frame_like(frame, repaired)
        result.pts, result.time_base = frame.pts, frame.time_base
        return result

    def _with_low_in_front(self, samples: NDArray[np.generic], names: list[str]) -> NDArray[np.generic]:
        """Copy the low channel to the front ones, as long as all others are silent: a voice may be recorded there."""
        silence = 128 if samples.dtype == np.uint8 else 0
        levels = np.abs(samples.astype(np.float64) - silence).max(axis=0, initial=0)
        is_low = np.array([name in LOW_CHANNELS for name in names])
        if levels[~is_low].max(initial=0) > SILENT_SHARE * levels[is_low].max():
            self._has_only_low_channels = False
        if not self._has_only_low_channels or not levels.any():
            return samples
        loudest = int(np.where(is_low, levels, -1).argmax())
        result = samples.copy()
        for channel, name in enumerate(names):
            if name in FRONT_CHANNELS:
                result[:, channel] = samples[:, loudest]
        return result


def _samples(frame: AudioFrame) -> NDArray[np.generic]:
    """samples x channels."""
    if frame.format.is_planar and frame.layout.nb_channels >= PLANAR_LIMIT:
        (frame,) = AudioResampler(format=frame.format.packed.name).resample(frame)
    samples = frame.to_ndarray()
    return samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)


def _is_ordinary(frame: AudioFrame) -> bool:
    """Whether all samples are finite and near full scale. Reads them in place, because nearly all frames are."""
    sample_type = SAMPLE_TYPES.get(frame.format.packed.name)
    if sample_type not in (np.float32, np.float64):
        return True
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= PLANAR_LIMIT:
        return False
    count = frame.samples if frame.format.is_planar else frame.samples * channels
    planes = [np.frombuffer(memoryview(plane), sample_type, count) for plane in frame.planes]
    # Both comparisons are false where a sample is not a number.
    return all(plane.max(initial=0) <= MAX_LEVEL and plane.min(initial=0) >= -MAX_LEVEL for plane in planes)


def _without_broken_numbers(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """Replace samples that are not finite by silence, and clip a frame with huge ones at full scale, as players do.

    The limiter turns the level down around each peak: a single huge sample would make all that follows inaudible.
    """
    if np.abs(samples).max(initial=0) <= MAX_LEVEL:  # false where a sample is not a number
        return samples
    finite: NDArray[np.generic] = np.where(np.isfinite(samples), samples, 0).astype(samples.dtype)
    levels = np.abs(finite)
    is_of_integers = levels.max(initial=0) <= MAX_INTEGER_LEVEL and np.median(levels) > MAX_LEVEL
    return finite if is_of_integers else np.clip(finite, -1, 1)
