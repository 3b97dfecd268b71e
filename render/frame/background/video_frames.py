"""The frames of a video, and two steps of the work on each of them done at the same time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from render.engines.faces import RgbImage

Item = TypeVar("Item")
Result = TypeVar("Result")


def images_of(video: Path, *, only_key_frames: bool = False) -> Iterator[RgbImage]:
    """Yield H x W x 3. video: of this service's own making, such as a normalised source or a segment."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        if only_key_frames:
            stream.codec_context.skip_frame = "NONKEY"
        for frame in container.decode(stream):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def one_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, but while the caller works on one result, a thread makes the next. In order, one after the other."""
    with ThreadPoolExecutor(1) as pool:
        ahead: Future[Result] | None = None
        for item in items:
            following = pool.submit(function, item)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
