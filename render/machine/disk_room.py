"""Whether this machine can write a render's files: free space, free inodes, a writable disk."""

import os
import tempfile
import time
from pathlib import Path

from django.conf import settings

from render.machine import work_folder
from render.node_faults import worker_folders
from render.storage import source_cache

CHECK_SECONDS = 5.0
PROBE_BYTES = 4096
MIN_FREE_INODES = 200  # A render makes some dozens of files.

_last_check: tuple[float, Path, str] | None = None  # its time by the monotonic clock, the WORK_DIR, the fault


def fault() -> str:
    """Why this machine cannot take work, as a sentence for the operator; empty if it can.

    Cheap to call: the disk is checked at most once in CHECK_SECONDS.
    """
    global _last_check
    folder, now = Path(settings.WORK_DIR), time.monotonic()
    if _last_check is None or _last_check[1] != folder or _last_check[0] + CHECK_SECONDS <= now:
        _last_check = (now, folder, _find_fault() and _find_fault_after_clearing())
    return _last_check[2]


def _find_fault_after_clearing() -> str:
    """Remove what a killed worker has left and the cache of sources: neither must stop the machine."""
    try:
        work_folder.sweep()
        source_cache.clear()
    except OSError as error:
        return _sentence(Path(settings.WORK_DIR), error)
    return _find_fault()


def _find_fault() -> str:
    place = Path(settings.WORK_DIR)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for place in worker_folders():
            with tempfile.TemporaryFile(dir=place) as probe:
                probe.write(bytes(PROBE_BYTES))
        place = Path(settings.WORK_DIR)
        disk = os.statvfs(place)
    except OSError as error:
        return _sentence(place, error)
    free = disk.f_bavail * disk.f_frsize
    if free < settings.MIN_FREE_WORK_BYTES:
        return f"{place} has {free >> 20} MiB free and needs {settings.MIN_FREE_WORK_BYTES >> 20} MiB."
    if disk.f_files and disk.f_favail < MIN_FREE_INODES:  # 0 on a file system that makes inodes as needed.
        return f"{place} has {disk.f_favail} inodes free and needs {MIN_FREE_INODES}."
    return ""


def _sentence(place: Path, error: OSError) -> str:
    return f"{place} cannot be written to: {error.strerror or error}."
