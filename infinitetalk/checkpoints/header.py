"""Whether a safetensors file is whole, told from its header and its length; no tensor is read."""

import errno
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from infinitetalk.checkpoints.files import require_file
from infinitetalk.errors import InvalidCheckpoint

# Of the machine or the network file system, not of the file: out of descriptors or memory, a disk or a server that does
# not answer, rights.
_OF_MACHINE = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ESHUTDOWN),
    *(errno.EACCES, errno.EPERM),
}
_POINTER = b"version https://git-lfs"

Fingerprint = tuple[int, int, int, int]  # device, inode, size in bytes, time of the last change in ns


@dataclass(frozen=True)
class Header:
    keys: frozenset[str]  # names of the tensors
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Raises InvalidCheckpoint for a file that is missing, cut off or no safetensors file, and OSError when the machine
    cannot look into it now: its disk, its network file system, descriptors, memory or rights.
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            start = file.read(200)
        # It raises where the length of the file is not what the header's tensors add up to.
        with safe_open(path, framework="pt") as opened:
            return Header(frozenset(opened.keys()), opened.metadata() or {})
    except SafetensorError as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is {_what_it_is(start)}: {error}") from error
    except OSError as error:
        if error.errno in _OF_MACHINE:
            raise
        raise InvalidCheckpoint("file_damaged", f"{path} cannot be read: {error}") from error


def fingerprint(path: Path) -> Fingerprint | None:
    """Another one when the file, or what a link to it points to, is changed or replaced; None where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _what_it_is(start: bytes) -> str:
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
        """Raises what read_header raises."""
        mark, known = fingerprint(path), self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        header = read_header(path)
        if mark is not None:
            self._known[path] = (mark, header)
        return header
