"""What only one process of a machine does at a time."""

import fcntl
from typing import IO
from urllib.parse import quote

from django.conf import settings


def try_lock(name: str) -> IO[str] | None:
    """Held until the file is closed or the process dies; None when another one holds it."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    file: IO[str] = (settings.WORK_DIR / f"{quote(name, safe='')}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
