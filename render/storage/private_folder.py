"""Folders with customers' images, voices and videos, which no other account of the machine may list or read."""

import contextlib
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may open, and return it. An existing one loses all other permissions.

    Missing folders above it are made for the owner alone, too.
    """
    _make(path)
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # It belongs to another account, or the disk is read-only.
            path.chmod(0o700)
    return path


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:  # `parents=True` would make the folders above it readable for all.
        _make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
