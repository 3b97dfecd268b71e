"""A lock that one process of a machine can hold at a time."""

import fcntl
from typing import IO
from urllib.parse import quote

from django.conf import settings

from render.storage.private_folder import private_folder


def try_lock(name: str) -> IO[str] | None:
    """Return the open lock file: the lock is held until it is closed or the process ends. None if another process
    holds the lock.
    """
    private_folder(settings.WORK_DIR)
    file: IO[str] = (settings.WORK_DIR / f"{quote(name, safe='')}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
