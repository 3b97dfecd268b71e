"""Words and pauses as one sound: between two words there is as much silence as was asked for, and not more.

An engine begins and ends what it speaks with a little silence of its own, which counts as part of a pause.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from render.speech.base import SAMPLE_RATE
from render.speech.passages import Passage, Pause

QUIET = 100  # of 32768, which is -50 dB: what is below is silence
MOST_HELD = 10 * SAMPLE_RATE  # samples of an engine's own silence; what is longer was meant

Samples = NDArray[np.int16]


def joined(passages: Iterable[Passage], speak: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
    """MonoDownmix s16 little-endian at `SAMPLE_RATE`, in blocks. speak: gives the same of a text."""
    gap: int | None = None  # samples of the pause before the next word, if there is one
    tail, head = _Silence(), _Silence()  # of the engine's own, before and after the pause
    for passage in passages:
        if isinstance(passage, Pause):
            gap = (gap or 0) + round(passage.seconds * SAMPLE_RATE)
            continue
        for block in speak(passage.text):
            samples = np.frombuffer(block, "<i2")
            loud = np.flatnonzero((samples > QUIET) | (samples < -QUIET))
            first, end = (int(loud[0]), int(loud[-1]) + 1) if loud.size else (len(samples), len(samples))
            if gap is not None:
                head.add(samples[:first])
                samples, end = samples[first:], end - first
                if not loud.size and head.length <= MOST_HELD:
                    continue
                yield _pause(tail.take(), gap, head.take())
                gap = None
            if loud.size or tail.length > MOST_HELD:
                yield tail.take().tobytes()
                yield samples[:end].tobytes()
                samples = samples[end:]
            tail.add(samples)
    yield tail.take().tobytes() if gap is None else _pause(tail.take(), gap, head.take())


def _pause(tail: Samples, gap: int, head: Samples) -> bytes:
    kept_head = min(len(head), max(gap - len(tail), gap // 2))
    kept_tail = min(len(tail), gap - kept_head)
    silence = np.zeros(gap - kept_tail - kept_head, "<i2")
    return np.concatenate([tail[:kept_tail], silence, head[len(head) - kept_head :]]).tobytes()


class _Silence:
    def __init__(self) -> None:
        self._blocks: list[Samples] = []
        self.length = 0

    def add(self, samples: Samples) -> None:
        self._blocks.append(samples)
        self.length += len(samples)

    def take(self) -> Samples:
        taken = np.concatenate([np.zeros(0, "<i2"), *self._blocks])
        self._blocks, self.length = [], 0
        return taken
