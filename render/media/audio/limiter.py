"""Keeps samples within full scale: turns them down smoothly around each peak, and does not clip.

Lossy formats and mixes go beyond full scale. Samples that stay within it are passed on unchanged, bit by bit.
"""

import numpy as np

from render.media.audio.resampling import Samples

BLOCK = 256  # samples: the time in which the level is turned down
RELEASE = 1.03  # the gain grows by at most 3 % a block: from half to full in 24 blocks


class Limiter:
    """Holds back one block, so that it sees a peak before it comes."""

    def __init__(self) -> None:
        self._held: Samples | None = None
        self._gain = 1.0  # at the start of the held samples

    def push(self, samples: Samples) -> Samples:
        """samples: channels x samples, of any length. Returns those that are ready."""
        if self._held is not None:
            samples = np.concatenate([self._held, samples], axis=1)
        ready = max(0, samples.shape[1] // BLOCK - 1)
        self._held = samples[:, ready * BLOCK :]
        return self._limited(samples[:, : (ready + 1) * BLOCK], ready)

    def flush(self) -> Samples:
        """Return the samples that were held back."""
        if self._held is None:
            return np.zeros((1, 0), np.float32)
        missing = -self._held.shape[1] % BLOCK
        padded = np.pad(self._held, ((0, 0), (0, missing + BLOCK)))
        return self._limited(padded, padded.shape[1] // BLOCK - 1)[:, : self._held.shape[1]]

    def _limited(self, samples: Samples, ready: int) -> Samples:
        """Return the first `ready` blocks of `samples`, which holds one block more."""
        channels = samples.shape[0]
        out = samples[:, : ready * BLOCK]
        if not ready:
            return out
        blocks = samples[:, : (ready + 1) * BLOCK].reshape(channels, ready + 1, BLOCK)
        peaks = np.abs(blocks).max(axis=(0, 2))
        if self._gain == 1.0 and peaks.max() <= 1.0:
            return out
        allowed = 1 / np.maximum(1.0, peaks)
        edges = [min(self._gain, float(allowed[0]))]  # the gain where each block begins and ends
        for this, following in zip(allowed[:-1], allowed[1:], strict=True):
            edges.append(min(float(this), float(following), edges[-1] * RELEASE))
        self._gain = edges[-1]
        steps = np.arange(BLOCK) / BLOCK
        begins, ends = np.array(edges[:-1])[:, None], np.array(edges[1:])[:, None]
        gains = (begins + (ends - begins) * steps).astype(np.float32)
        limited: Samples = (blocks[:, :ready] * gains).reshape(channels, ready * BLOCK)
        return limited
