"""Frames of any format, rate and layout as samples at one rate, whatever changes between two frames."""

from collections.abc import Iterator

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.reading.opening import decode_errors_as

BATCH_SECONDS = 0.25
Samples = NDArray[np.float32]  # channels x samples; full scale is 1, lossy formats go a little beyond


class Resampler:
    """Resamples to `rate` Hz. layout: `mono`, `stereo`, or None to keep the layout of each frame."""

    def __init__(self, rate: int, layout: str | None, invalid: ServiceError) -> None:
        self._rate, self._layout, self._invalid = rate, layout, invalid
        self._resampler: AudioResampler | None = None
        self._frame_kind: object = None  # format, layout and rate of the latest frame
        self._held: list[AudioFrame] = []
        self._held_samples = 0

    def push(self, frame: AudioFrame | None) -> Iterator[tuple[AudioLayout, Samples]]:
        """None: that was the last frame. Joined recordings change their rate and layout where the next one begins.

        Some frames are held back and given out in a batch, because each step after this one has a cost of its own.
        """
        with decode_errors_as(self._invalid):
            frame_kind = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
            if frame_kind != self._frame_kind:
                if self._resampler:
                    self._hold(self._resampler.resample(None))
                    yield from self._batch()
                self._frame_kind, self._resampler = frame_kind, self._new_resampler() if frame else None
            if frame and self._resampler:
                self._hold(self._resampler.resample(frame))
        if self._held_samples >= self._rate * BATCH_SECONDS:
            yield from self._batch()

    def _hold(self, frames: list[AudioFrame]) -> None:
        self._held += frames
        self._held_samples += sum(frame.samples for frame in frames)

    def _batch(self) -> Iterator[tuple[AudioLayout, Samples]]:
        frames, self._held, self._held_samples = self._held, [], 0
        if frames:
            layout = frames[0].layout
            interleaved = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
            yield layout, np.ascontiguousarray(interleaved.reshape(-1, layout.nb_channels).T, np.float32)

    def _new_resampler(self) -> AudioResampler:
        # The weights of a mix sum to 1, so that it cannot be louder than full scale. Interleaved, because PyAV 18.1
        # reads past the end of a planar frame of eight channels.
        options = {"rematrix_maxval": "1"} if self._layout else {}
        return AudioResampler(format="flt", layout=self._layout, rate=self._rate, options=options)


def as_s16(samples: Samples) -> NDArray[np.int16]:
    """Round to 16 bits, in the same shape. Samples that were s16 before come out unchanged."""
    return np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16)
