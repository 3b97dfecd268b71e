"""How a long download or decoding counts as progress of its render: by the size of the files that it writes."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from render.media.isolation.calls import Check


class GrowthCheck:
    """A `check` that also calls `on_growth` when the files of a folder together are larger than ever before.

    It is called for each block that is read, so the folder is listed only once in `interval_seconds`.
    """

    def __init__(self, folder: Path, check: Check, on_growth: Callable[[], None], *, interval_seconds: float) -> None:
        self._folder = folder
        self._check = check
        self._on_growth = on_growth
        self._interval_seconds = interval_seconds
        self._next_look = 0.0  # by the monotonic clock
        self._most_bytes = 0

    def __call__(self) -> None:
        self._check()
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._interval_seconds
        num_bytes = self._folder_bytes()
        if num_bytes > self._most_bytes:
            self._most_bytes = num_bytes
            self._on_growth()

    def _folder_bytes(self) -> int:
        num_bytes = 0
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # An incomplete file has just been renamed.
                num_bytes += path.stat().st_size
        return num_bytes
