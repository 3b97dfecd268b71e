"""What only one process of a machine does at a time."""

import fcntl
from typing import IO
from urllib.parse import quote

from django.conf import settings

from render.storage.private_folder import private_folder


def try_lock(name: str) -> IO[str] | None:
    """Held until the file is closed or the process dies; None when another one holds it."""
    private_folder(settings.WORK_DIR)
    file: IO[str] = (settings.WORK_DIR / f"{quote(name, safe='')}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
