"""Whether this machine can write what a render needs: room, inodes, a writable disk. Looked at every few seconds."""

import os
import tempfile
import time
from pathlib import Path

from django.conf import settings

from render.machine import work_folder
from render.node_faults import work_places
from render.storage import source_cache

CHECK_SECONDS = 5.0
PROBE_BYTES = 4096
MIN_FREE_INODES = 200  # A render makes some dozens of files.

_seen: tuple[float, Path, str] | None = None  # when, by the monotonic clock; of which WORK_DIR; the fault


def fault() -> str:
    """Why this machine cannot take work, in words for the operator, or an empty text. Cheap: mostly remembered."""
    global _seen
    place, now = Path(settings.WORK_DIR), time.monotonic()
    if _seen is None or _seen[1] != place or _seen[0] + CHECK_SECONDS <= now:
        _seen = (now, place, _look() and _look_after_clearing())
    return _seen[2]


def _look_after_clearing() -> str:
    """What a killed worker has left, and sources that are only kept for later, must not stop the machine."""
    try:
        work_folder.sweep()
        source_cache.clear()
    except OSError as error:
        return _words(Path(settings.WORK_DIR), error)
    return _look()


def _look() -> str:
    place = Path(settings.WORK_DIR)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for place in work_places():
            with tempfile.TemporaryFile(dir=place) as probe:
                probe.write(bytes(PROBE_BYTES))
        place = Path(settings.WORK_DIR)
        disk = os.statvfs(place)
    except OSError as error:
        return _words(place, error)
    free = disk.f_bavail * disk.f_frsize
    if free < settings.MIN_FREE_WORK_BYTES:
        return f"{place} has {free >> 20} MiB free and needs {settings.MIN_FREE_WORK_BYTES >> 20} MiB."
    if disk.f_files and disk.f_favail < MIN_FREE_INODES:  # Some file systems have no fixed number: they say 0.
        return f"{place} has {disk.f_favail} inodes free and needs {MIN_FREE_INODES}."
    return ""


def _words(place: Path, error: OSError) -> str:
    return f"{place} cannot be written to: {error.strerror or error}."
