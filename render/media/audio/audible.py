"""Frames of sound with what would spoil the rest taken out, and with what nobody would hear brought in."""

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

LOUDEST = 16.0  # times full scale: lossy formats and loud mixes stay far below, broken numbers do not
MOST_INTEGER = 32_768  # full scale of programs that write the numbers of 16 bits as floats; these are turned down
LOW = {"LFE", "LFE2"}  # channels for low frequencies, which are left out of a mix for two ears or one
SILENT = 1e-3  # times as loud as those
FLOATS = {"flt": np.float32, "dbl": np.float64}
APART = 8  # channels, that PyAV 18.1 cannot read or make where they lie apart


class Audible:
    """Of one recording; takes its frames in order."""

    def __init__(self) -> None:
        self._is_only_low = True  # so far

    def frame(self, frame: AudioFrame) -> AudioFrame:
        """The same one, or one that is as long."""
        may_be_low = self._is_only_low and frame.layout.nb_channels > 2
        names = [channel.name for channel in frame.layout.channels] if may_be_low else []
        has_low = bool(LOW.intersection(names))
        if not has_low and _is_ordinary(frame):
            return frame
        samples = self._samples(frame)
        made = _tamed(samples) if samples.dtype.kind == "f" else samples
        if has_low:
            made = self._with_low_heard(made, names)
        return frame if made is samples else _like(frame, made)

    def _samples(self, frame: AudioFrame) -> NDArray[np.generic]:
        """samples x channels."""
        if frame.format.is_planar and frame.layout.nb_channels >= APART:
            (frame,) = AudioResampler(format=frame.format.packed.name).resample(frame)
        samples = frame.to_ndarray()
        return samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)

    def _with_low_heard(self, samples: NDArray[np.generic], names: list[str]) -> NDArray[np.generic]:
        """A voice may have been put into the wrong one of six channels: while nothing is in any other, it is heard."""
        level = np.abs(samples.astype(np.float64) - (128 if samples.dtype == np.uint8 else 0)).max(axis=0, initial=0)
        is_low = np.array([name in LOW for name in names])
        if level[~is_low].max(initial=0) > SILENT * level[is_low].max():
            self._is_only_low = False
        if not self._is_only_low or not level.any():
            return samples
        loudest = int(np.where(is_low, level, -1).argmax())
        heard = samples.copy()
        for place, name in enumerate(names):
            if name in ("FL", "FR", "FC"):
                heard[:, place] = samples[:, loudest]
        return heard


def _is_ordinary(frame: AudioFrame) -> bool:
    """Whether all samples are numbers near full scale. Looks at them where they lie: nearly all frames are."""
    kind = FLOATS.get(frame.format.packed.name)
    if kind is None:
        return True
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= APART:
        return False
    count = frame.samples if frame.format.is_planar else frame.samples * channels
    planes = [np.frombuffer(memoryview(plane), kind, count) for plane in frame.planes]
    # False where one is no number.
    return all(plane.max(initial=0) <= LOUDEST and plane.min(initial=0) >= -LOUDEST for plane in planes)


def _tamed(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """What is no number is silence. A single huge sample would make all that follows inaudible, for the loudness is
    turned down around it: such frames are cut off at full scale, as players do.
    """
    if np.abs(samples).max(initial=0) <= LOUDEST:  # False where one is no number
        return samples
    finite: NDArray[np.generic] = np.where(np.isfinite(samples), samples, 0).astype(samples.dtype)
    level = np.abs(finite)
    is_of_integers = level.max(initial=0) <= MOST_INTEGER and np.median(level) > LOUDEST
    return finite if is_of_integers else np.clip(finite, -1, 1)


def _like(frame: AudioFrame, samples: NDArray[np.generic]) -> AudioFrame:
    packed = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples).reshape(1, -1), format=frame.format.packed.name, layout=frame.layout.name
    )
    packed.sample_rate = frame.sample_rate
    (made,) = AudioResampler(format=frame.format.name).resample(packed)
    made.pts, made.time_base = frame.pts, frame.time_base
    return made
