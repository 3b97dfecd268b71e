"""Frames of any format, rate and layout as samples at one rate, whatever changes in between."""

from collections.abc import Iterator

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.reading.demux import decoding

HELD_SECONDS = 0.25
Samples = NDArray[np.float32]  # channels x samples; full scale is 1, lossy formats go a little beyond


class Resampling:
    """At `rate` Hz. layout: `mono`, `stereo`, or None for the layout that each frame has."""

    def __init__(self, rate: int, layout: str | None, invalid: ServiceError) -> None:
        self._rate, self._layout, self._invalid = rate, layout, invalid
        self._resampler: AudioResampler | None = None
        self._kind: object = None
        self._held: list[AudioFrame] = []
        self._held_samples = 0

    def push(self, frame: AudioFrame | None) -> Iterator[tuple[AudioLayout, Samples]]:
        """None: it was the last. Joined recordings change their rate and channels where the next one begins.

        Some frames are held back and given out together, because each step takes time for itself.
        """
        with decoding(self._invalid):
            kind = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._kind:
                if self._resampler:
                    self._hold(self._resampler.resample(None))
                    yield from self._given_out()
                self._kind, self._resampler = kind, self._new() if frame else None
            if frame and self._resampler:
                self._hold(self._resampler.resample(frame))
        if self._held_samples >= self._rate * HELD_SECONDS:
            yield from self._given_out()

    def _hold(self, pieces: list[AudioFrame]) -> None:
        self._held += pieces
        self._held_samples += sum(piece.samples for piece in pieces)

    def _given_out(self) -> Iterator[tuple[AudioLayout, Samples]]:
        pieces, self._held, self._held_samples = self._held, [], 0
        if pieces:
            layout = pieces[0].layout
            interleaved = np.concatenate([piece.to_ndarray() for piece in pieces], axis=1)
            yield layout, np.ascontiguousarray(interleaved.reshape(-1, layout.nb_channels).T, np.float32)

    def _new(self) -> AudioResampler:
        # The weights of a mix have a sum of 1, so that it cannot be louder than full scale. Interleaved, because PyAV
        # 18.1 reads behind the end of its memory where eight channels lie apart.
        return AudioResampler(
            format="flt", layout=self._layout, rate=self._rate, options={"rematrix_maxval": "1"} if self._layout else {}
        )


def as_s16(samples: Samples) -> NDArray[np.int16]:
    """Channels x samples to the same shape. What was s16 comes out as it was."""
    return np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16)
