"""One channel of many, which can be heard even if a microphone was wired wrongly, dead or late.

The plain mean is silent when one microphone is wired the wrong way round, because its channel is the other's negative;
half as loud when one is dead; and hollow when one is late. So channels are added as far as they agree, and a channel
out of phase with the loudest one is left out. The result is as loud as the loudest channel.
"""

from math import exp, sqrt

import numpy as np
from av.audio.layout import AudioLayout
from numpy.typing import NDArray

from render.media.audio.samples import Samples

BLOCK_SECONDS = 0.02
MEMORY_SECONDS = 0.4  # over which channels are compared: a few syllables
# The correlation with what is mixed already, above which a channel is added in full, and below which not at all.
AGREES, OPPOSES = -0.1, -0.5
HELD = 4.0  # times the power that a channel needs to take the place of the loudest
MOST_GAIN = 12.0  # of a channel at the back of eight
# As ITU-R BS.775 mixes surround sound, and FFmpeg before this. Low frequencies are left out.
WEIGHTS = {"FC": 1.0, "FL": sqrt(0.5), "FR": sqrt(0.5), "LFE": 0.0, "LFE2": 0.0, "NONE": 1.0}
OTHERS = 0.5


class Mono:
    """Takes blocks of any length, all at one rate."""

    def __init__(self, rate: int) -> None:
        self._block = round(BLOCK_SECONDS * rate)
        self._forget = exp(-BLOCK_SECONDS / MEMORY_SECONDS)
        self._layout = ""
        self._held: Samples = np.zeros((1, 0), np.float32)

    def push(self, layout: AudioLayout, samples: Samples) -> Samples:
        """channels x samples; returns 1 x the samples that are ready, all of them for one channel."""
        before = self._begin(layout) if layout.name != self._layout else None
        if len(samples) == 1:
            mixed = samples
        else:
            joined = np.concatenate([self._held, samples], axis=1)
            whole = joined.shape[1] // self._block * self._block
            self._held = joined[:, whole:]
            mixed = self._mix(joined[:, :whole], self._block)
        return mixed if before is None else np.concatenate([before, mixed], axis=1)

    def flush(self) -> Samples:
        """The rest, of less than a block."""
        rest, self._held = self._held, self._held[:, :0]
        return self._mix(rest, rest.shape[1])

    def _begin(self, layout: AudioLayout) -> Samples | None:
        rest = self.flush() if self._layout else None
        self._layout = layout.name
        channels = len(layout.channels)
        weights = np.array([WEIGHTS.get(channel.name, OTHERS) for channel in layout.channels])
        self._weights = (weights if weights.sum() else np.ones(channels)) / (weights.sum() or channels)
        self._held = np.zeros((channels, 0), np.float32)
        self._powers = np.zeros((channels, channels))  # what each pair has in common, lately
        self._loudest = 0
        self._gains: NDArray[np.float64] | None = None
        return rest

    def _mix(self, samples: Samples, size: int) -> Samples:
        """samples: whole blocks of `size`."""
        if not samples.size:
            return np.zeros((1, 0), np.float32)
        blocks = samples.reshape(len(samples), -1, size)
        common = np.einsum("ibn,jbn->bij", blocks, blocks, dtype=np.float64, optimize=True)
        gains = []
        for powers in common:
            self._powers = self._powers * self._forget + powers
            gains.append(self._chosen())
        first = gains[0] if self._gains is None else self._gains
        edges = np.array([first, *gains], np.float32)  # blocks + 1 x channels
        self._gains = gains[-1]
        steps = (np.arange(1, size + 1) / size).astype(np.float32)
        curves = edges[:-1, :, None] + (edges[1:] - edges[:-1])[:, :, None] * steps  # blocks x channels x size
        mixed: Samples = np.einsum("bin,ibn->bn", curves, blocks).reshape(1, -1)
        return mixed

    def _chosen(self) -> NDArray[np.float64]:
        """The gain of each channel."""
        own = np.diag(self._powers)
        loudness = own * self._weights**2
        if not loudness.max() > 0:
            return self._weights if self._gains is None else self._gains
        if loudness.max() > HELD * loudness[self._loudest]:
            self._loudest = int(loudness.argmax())
        gains = np.zeros(len(own))
        gains[self._loudest] = self._weights[self._loudest]
        power = loudness[self._loudest]  # of the mix so far
        for channel in np.argsort(-loudness, kind="stable"):
            if channel == self._loudest or not loudness[channel]:
                continue
            both = self._weights[channel] * float(gains @ self._powers[:, channel])
            agreement = both / sqrt(power * loudness[channel])
            share = min(1.0, max(0.0, (agreement - OPPOSES) / (AGREES - OPPOSES)))
            gains[channel] = self._weights[channel] * share
            power += 2 * share * both + share**2 * loudness[channel]
        loudest = max(own[self._weights > 0])
        return gains * min(MOST_GAIN, max(1.0, sqrt(loudest / power)))
