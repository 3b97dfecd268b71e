"""Whether a safetensors file is complete, by its header and its length. No tensor is read."""

import errno
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from infinitetalk.checkpoints.files import require_file
from infinitetalk.errors import InvalidCheckpoint

# Errors of the machine or of a network file system, not of the file.
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # file descriptors, memory
_NO_ANSWER = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EREMOTEIO,
    errno.ESHUTDOWN,
}
_NO_RIGHTS = {errno.EACCES, errno.EPERM}
_OF_MACHINE = _NO_RESOURCES | _NO_ANSWER | _NO_RIGHTS
_POINTER = b"version https://git-lfs"

Fingerprint = tuple[int, int, int, int]  # device, inode, size in bytes, time of the last change in ns


@dataclass(frozen=True)
class Header:
    keys: frozenset[str]  # names of the tensors
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Raises InvalidCheckpoint for a file that is missing, truncated or not a safetensors file, and OSError when the
    machine cannot read it now: disk, network file system, file descriptors, memory or rights.
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            start = file.read(200)
        # `safe_open` raises when the length of the file does not match the tensors in its header.
        with safe_open(path, framework="pt") as opened:
            return Header(frozenset(opened.keys()), opened.metadata() or {})
    except SafetensorError as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is {_kind(start)}: {error}") from error
    except OSError as error:
        if error.errno in _OF_MACHINE:
            raise
        raise InvalidCheckpoint("file_damaged", f"{path} cannot be read: {error}") from error


def fingerprint(path: Path) -> Fingerprint | None:
    """Changes when the file, or the target of a link, is changed or replaced. None when there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _kind(start: bytes) -> str:
    if not start:
        return "empty"
    if start.startswith(_POINTER):
        return "a Git LFS pointer, not the file itself"
    if start.lstrip().startswith(b"<"):
        return "a web page, not a file of weights"
    return "damaged or incomplete"


class Headers:
    """Reads the header of a file again only when the file has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Fingerprint, Header]] = {}

    def of(self, path: Path) -> Header:
        """Raises the errors of `read_header`."""
        current, known = fingerprint(path), self._known.get(path)
        if known is not None and known[0] == current:
            return known[1]
        header = read_header(path)
        if current is not None:
            self._known[path] = (current, header)
        return header
