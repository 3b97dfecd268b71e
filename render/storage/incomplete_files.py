"""Incomplete files: a process that writes one holds a lock on it, which the kernel releases when the process ends.

A file's age alone does not show that its writer is dead: a machine's clock may jump, and a client may be slow.
"""

import fcntl
import os
from pathlib import Path


def create(path: Path) -> int:
    """Return a descriptor for writing to a new file, which is locked until the descriptor is closed. Raises OSError."""
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
        os.close(descriptor)  # Another process has deleted it as abandoned, before it was locked.


def is_being_written(path: Path) -> bool:
    """Whether a process holds the file's lock. Raises FileNotFoundError."""
    with path.open("rb") as file:
        return not _is_free(file.fileno())


def delete_abandoned(path: Path) -> bool:
    """Delete a file unless a process writes it; return whether it is gone."""
    try:
        with path.open("rb") as file:
            if not _is_free(file.fileno()):
                return False
            path.unlink()
    except FileNotFoundError:
        pass
    return True


def _is_free(descriptor: int) -> bool:
    """Whether no writer holds the lock. If so, none can get it until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
