"""Source files kept on this machine, so that a render finds its own there when its turn comes.

Their names are the hashes of their content: a file is the same for every render and tenant, and never changes.
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

PART = "."  # What the name of a file begins with that is not whole yet.
UNUSED_SECONDS = 24 * 3600  # A customer's files stay no longer than they are of use.


def bring(name: str, download: Callable[[Path], None], *, link: Path | None = None) -> None:
    """Have the file of this name here; `download` fetches it, checked, to the path it is given, if it is not.

    link: where it is to be found, too, whoever removes it here at this moment.
    """
    folder = Path(settings.WORK_DIR) / "sources"
    path = folder / name
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)  # for `_trim`
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
    """Remove all of it, for room on the disk. What renders have in use stays: they hold links of their own."""
    folder = Path(settings.WORK_DIR) / "sources"
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            _remove(path)


def _trim(folder: Path, *, keep: Path) -> None:
    """Remove what was not used for longest. Renders hold links of their own, so nothing in use is lost."""
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
    """Unless another process is just fetching it."""
    if path.name.startswith(PART):
        return incomplete_files.delete_abandoned(path)
    path.unlink(missing_ok=True)
    return True
