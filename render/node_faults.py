"""Which errors are this machine's fault, and not that of a render or of a customer's file."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from render.storage.errors import StorageFailure

# Of a process that decodes a customer's file the limit of memory is told as such, see `render.media.isolation.client`.
NO_MEMORY = {errno.ENOMEM}
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}
NO_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
NO_RIGHTS = {errno.EACCES, errno.EPERM}  # Only where it concerns the folders that a worker writes to.


class NodeFault(Exception):
    """This machine cannot do its work now; another one may. The text is for staff: it may name files.

    variant: of the model, if this machine cannot load that one and can do other work.
    """

    def __init__(self, fault: str, *, variant: str = "") -> None:
        super().__init__(fault)
        self.variant = variant


@contextmanager
def recognised() -> Iterator[None]:
    """Raises NodeFault instead of an error that this machine has caused; every other error passes unchanged."""
    try:
        yield
    except NodeFault:
        raise
    except Exception as error:
        fault = fault_in(error)
        if fault is None:
            raise
        raise NodeFault(fault) from error


def fault_in(error: BaseException) -> str | None:
    """What this machine could not do, if that has led to `error`; else None.

    The whole chain of causes is read: a full disk or a missing descriptor may be wrapped in an error that blames a
    customer's file. FFmpeg also uses the codes of a disk for damaged files, so of its errors only those count that
    nothing has wrapped: they come from writing our own files.
    """
    wrapped = False
    link: BaseException | None = error
    while link is not None and not isinstance(link, StorageFailure):  # That one is the media storage's fault.
        if isinstance(link, NodeFault):
            return str(link)
        if isinstance(link, OSError) and _is_of_machine(link, wrapped=wrapped):
            place = f": {link.filename}" if link.filename else ""
            return f"{link.strerror or link}{place}"
        wrapped = True
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def is_of_disk(error: OSError) -> bool:
    """Whether the machine itself has no room, no descriptor or no writable disk."""
    return error.errno in NO_DISK | NO_DESCRIPTORS


def work_places() -> tuple[Path, Path]:
    """The folders in which a worker writes. Raises FileNotFoundError where there is no folder for temporary files."""
    return Path(settings.WORK_DIR), Path(tempfile.gettempdir())


def _is_of_machine(error: OSError, *, wrapped: bool) -> bool:
    if error.errno in NO_DESCRIPTORS:
        return True
    import av  # Only workers decode media: a web process, which asks `is_of_disk`, never loads it.

    if isinstance(error, av.error.FFmpegError):
        return not wrapped and error.errno in NO_DISK
    # EIO of the kernel is a broken disk.
    return error.errno in NO_DISK | NO_MEMORY | {errno.EIO} or (
        error.errno in NO_RIGHTS and _is_in_work_place(error.filename)
    )


def _is_in_work_place(filename: object) -> bool:
    if not isinstance(filename, str):
        return False
    return any(Path(filename).is_relative_to(place) for place in work_places())
