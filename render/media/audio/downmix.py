"""Many channels mixed to one that can be heard even if a microphone was wired wrongly, dead or late.

The plain mean is silent when one microphone has the opposite polarity, half as loud when one is dead, and hollow when
one is late. So channels are added as far as they correlate, and a channel out of phase with the loudest one is left
out. The result is as loud as the loudest channel.
"""

from math import exp, sqrt

import numpy as np
from av.audio.layout import AudioLayout
from numpy.typing import NDArray

from render.media.audio.resampling import Samples

BLOCK_SECONDS = 0.02
MEMORY_SECONDS = 0.4  # over which channels are compared: a few syllables
# A channel is added in full above the first correlation with the mix so far, and not at all below the second.
FULL_CORRELATION, NO_CORRELATION = -0.1, -0.5
TAKEOVER_POWER = 4.0  # times the power of the loudest channel that another one needs to take its place
MAX_GAIN = 12.0  # needed for a channel at the back of eight
# As ITU-R BS.775 and FFmpeg mix surround sound. Channels for low frequencies are left out.
WEIGHTS = {"FC": 1.0, "FL": sqrt(0.5), "FR": sqrt(0.5), "LFE": 0.0, "LFE2": 0.0, "NONE": 1.0}
OTHER_WEIGHT = 0.5


class MonoDownmix:
    """Takes samples in pieces of any length, all at one rate."""

    def __init__(self, rate: int) -> None:
        self._block = round(BLOCK_SECONDS * rate)
        self._decay = exp(-BLOCK_SECONDS / MEMORY_SECONDS)
        self._layout = ""
        self._held: Samples = np.zeros((1, 0), np.float32)

    def push(self, layout: AudioLayout, samples: Samples) -> Samples:
        """samples: channels x samples. Returns 1 x the samples that are ready; of one channel, all of them."""
        rest = self._begin(layout) if layout.name != self._layout else None
        if len(samples) == 1:
            mixed = samples
        else:
            samples = np.concatenate([self._held, samples], axis=1)
            whole_blocks = samples.shape[1] // self._block * self._block
            self._held = samples[:, whole_blocks:]
            mixed = self._mix(samples[:, :whole_blocks], self._block)
        return mixed if rest is None else np.concatenate([rest, mixed], axis=1)

    def flush(self) -> Samples:
        """Return the rest, which is shorter than a block."""
        rest, self._held = self._held, self._held[:, :0]
        return self._mix(rest, rest.shape[1])

    def _begin(self, layout: AudioLayout) -> Samples | None:
        """Start with a new layout. Returns the rest of the samples before it."""
        rest = self.flush() if self._layout else None
        self._layout = layout.name
        channels = len(layout.channels)
        weights = np.array([WEIGHTS.get(channel.name, OTHER_WEIGHT) for channel in layout.channels])
        self._weights = (weights if weights.sum() else np.ones(channels)) / (weights.sum() or channels)
        self._held = np.zeros((channels, 0), np.float32)
        self._powers = np.zeros((channels, channels))  # of each pair of channels, over the last MEMORY_SECONDS
        self._loudest = 0
        self._gains: NDArray[np.float64] | None = None
        return rest

    def _mix(self, samples: Samples, size: int) -> Samples:
        """samples: channels x samples, in whole blocks of `size`. Within a block, the gains change linearly."""
        if not samples.size:
            return np.zeros((1, 0), np.float32)
        blocks = samples.reshape(len(samples), -1, size)
        powers_of_blocks = np.einsum("ibn,jbn->bij", blocks, blocks, dtype=np.float64, optimize=True)
        gains = []
        for powers in powers_of_blocks:
            self._powers = self._powers * self._decay + powers
            gains.append(self._channel_gains())
        first = gains[0] if self._gains is None else self._gains
        edges = np.array([first, *gains], np.float32)  # blocks + 1 x channels
        self._gains = gains[-1]
        steps = (np.arange(1, size + 1) / size).astype(np.float32)
        curves = edges[:-1, :, None] + (edges[1:] - edges[:-1])[:, :, None] * steps  # blocks x channels x size
        mixed: Samples = np.einsum("bin,ibn->bn", curves, blocks).reshape(1, -1)
        return mixed

    def _channel_gains(self) -> NDArray[np.float64]:
        """Add the channels to the loudest one in the order of their loudness, each by its correlation with the sum."""
        own = np.diag(self._powers)
        loudness = own * self._weights**2
        if not loudness.max() > 0:
            return self._weights if self._gains is None else self._gains
        if loudness.max() > TAKEOVER_POWER * loudness[self._loudest]:
            self._loudest = int(loudness.argmax())
        gains = np.zeros(len(own))
        gains[self._loudest] = self._weights[self._loudest]
        power = loudness[self._loudest]  # of the mix so far
        for channel in np.argsort(-loudness, kind="stable"):
            if channel == self._loudest or not loudness[channel]:
                continue
            both = self._weights[channel] * float(gains @ self._powers[:, channel])
            correlation = both / sqrt(power * loudness[channel])
            share = min(1.0, max(0.0, (correlation - NO_CORRELATION) / (FULL_CORRELATION - NO_CORRELATION)))
            gains[channel] = self._weights[channel] * share
            power += 2 * share * both + share**2 * loudness[channel]
        loudest = max(own[self._weights > 0])
        return gains * min(MAX_GAIN, max(1.0, sqrt(loudest / power)))
