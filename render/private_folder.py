"""Folders with customers' pictures, voices and films, which no other account of the machine may list or read."""

import contextlib
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make the folder, unless it is there, and take it from everybody but its owner, what was made earlier too."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # It is another account's, who decides, or on a disk that is read-only.
            path.chmod(0o700)
    return path
