"""Words and pauses joined to one recording: between two words there is as much silence as requested, and not more.

An engine begins and ends its speech with a little silence of its own, which counts as part of a pause.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from render.speech.base import SAMPLE_RATE
from render.speech.passages import Passage, Pause

QUIET = 100  # of 32768, which is -50 dB: samples below it are silence
MAX_HELD = 10 * SAMPLE_RATE  # samples of an engine's own silence; a longer one is meant, and is kept

Samples = NDArray[np.int16]


def join_passages(passages: Iterable[Passage], speak: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
    """Yield blocks of mono s16 little-endian samples at `SAMPLE_RATE`. speak: yields such blocks for a text."""
    pause: int | None = None  # samples of the pause before the next word, if there is one
    tail, head = _Silence(), _Silence()  # the engine's own silence before and after the pause
    for passage in passages:
        if isinstance(passage, Pause):
            pause = (pause or 0) + round(passage.seconds * SAMPLE_RATE)
            continue
        for block in speak(passage.text):
            samples = np.frombuffer(block, "<i2")
            loud = np.flatnonzero((samples > QUIET) | (samples < -QUIET))
            first, end = (int(loud[0]), int(loud[-1]) + 1) if loud.size else (len(samples), len(samples))
            if pause is not None:
                head.add(samples[:first])
                samples, end = samples[first:], end - first
                if not loud.size and head.length <= MAX_HELD:
                    continue
                yield _pause(tail.take(), pause, head.take())
                pause = None
            if loud.size or tail.length > MAX_HELD:
                yield tail.take().tobytes()
                yield samples[:end].tobytes()
                samples = samples[end:]
            tail.add(samples)
    yield tail.take().tobytes() if pause is None else _pause(tail.take(), pause, head.take())


def _pause(tail: Samples, length: int, head: Samples) -> bytes:
    """A pause of `length` samples, of as much of the engine's own silence as fits in."""
    kept_head = min(len(head), max(length - len(tail), length // 2))
    kept_tail = min(len(tail), length - kept_head)
    silence = np.zeros(length - kept_tail - kept_head, "<i2")
    return np.concatenate([tail[:kept_tail], silence, head[len(head) - kept_head :]]).tobytes()


class _Silence:
    """Samples that are held back."""

    def __init__(self) -> None:
        self._blocks: list[Samples] = []
        self.length = 0

    def add(self, samples: Samples) -> None:
        self._blocks.append(samples)
        self.length += len(samples)

    def take(self) -> Samples:
        """Return all held samples, and hold none any more."""
        samples = np.concatenate([np.zeros(0, "<i2"), *self._blocks])
        self._blocks, self.length = [], 0
        return samples
