"""Folders with customers' pictures, voices and films, which no other account of the machine may list or read."""

import contextlib
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make the folder, unless it is there, and take it from everybody but its owner, what was made earlier too.

    What it needs above it is made for the owner alone, too.
    """
    _make(path)
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # It is another account's, who decides, or on a disk that is read-only.
            path.chmod(0o700)
    return path


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:  # `parents=True` would leave those above open to all.
        _make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
