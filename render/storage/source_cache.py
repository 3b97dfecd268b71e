"""A cache of source files on this machine, so that a render need not download its own when its turn comes.

A file's name is the hash of its content: the file is the same for every render and tenant, and never changes.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from render.storage import incomplete_files
from render.storage.private_folder import private_folder

PART = "."  # The beginning of an incomplete file's name.
UNUSED_SECONDS = 24 * 3600  # A file that was not used for so long is removed, because it is a customer's.


def provide(name: str, *, download: Callable[[Path], None], link: Path | None = None) -> None:
    """Have the file of this name in the cache. If it is missing, `download(path)` must put it at a path, checked.

    link: another name for the file, outside the cache. It stays when the file is removed from the cache, even if that
    happens during this call.
    """
    folder = Path(settings.WORK_DIR) / "sources"
    path = folder / name
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)  # `_trim` reads when a file was last used.
        if link is not None:
            os.link(path, link)
        return
    part = private_folder(folder) / f"{PART}{uuid.uuid4().hex}"
    descriptor = incomplete_files.create(part)
    try:
        download(part)
        if link is not None:
            os.link(part, link)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
        os.close(descriptor)
    _trim(folder, keep=path)


def clear() -> None:
    """Empty the cache, for room on the disk. Renders keep the files they use, by links of their own."""
    folder = Path(settings.WORK_DIR) / "sources"
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            _remove(path)


def _trim(folder: Path, *, keep: Path) -> None:
    """Remove files that were not used for UNUSED_SECONDS, and the least recently used above SOURCE_CACHE_BYTES.

    Renders keep the files they use, by links of their own.
    """
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    oldest = time.time() - UNUSED_SECONDS
    for used, size, path in sorted(files):
        if used > oldest and total <= settings.SOURCE_CACHE_BYTES:
            return
        if path != keep and _remove(path):
            total -= size


def _remove(path: Path) -> bool:
    """Remove a file unless another process is downloading it; return whether it is gone."""
    if path.name.startswith(PART):
        return incomplete_files.delete_abandoned(path)
    path.unlink(missing_ok=True)
    return True
