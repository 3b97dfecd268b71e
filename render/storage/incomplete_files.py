"""Files that are not whole yet: who writes one holds its lock, which ends with the process, however that ends.

A file's age alone does not tell that its writer is dead: a machine's clock may jump, and a client may be slow.
"""

import fcntl
import os
from pathlib import Path


def create(path: Path) -> int:
    """A descriptor of a new file, to write to; the file is locked until it is closed. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_there = os.fstat(descriptor).st_nlink > 0
        except OSError:
            os.close(descriptor)
            raise
        if is_there:
            return descriptor
        os.close(descriptor)  # Somebody has taken it for abandoned, before it was locked.


def is_being_written(path: Path) -> bool:
    """Raises FileNotFoundError."""
    with path.open("rb") as file:
        return not _is_free(file.fileno())


def delete_abandoned(path: Path) -> bool:
    """Delete a file unless somebody writes it; whether it is gone."""
    try:
        with path.open("rb") as file:
            if not _is_free(file.fileno()):
                return False
            path.unlink()
    except FileNotFoundError:
        pass
    return True


def _is_free(descriptor: int) -> bool:
    """Whether nobody holds the lock. If so, nobody else gets it until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
