"""Which errors are caused by this machine, and not by a render or a customer's file."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from render.storage.failures import StorageFailure

# A process that decodes a customer's file has a memory limit, which is reported in another way: see
# `render.media.isolation.client`.
NO_MEMORY = {errno.ENOMEM}
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}
NO_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
NO_RIGHTS = {errno.EACCES, errno.EPERM}  # Only in the folders that a worker writes to.


class NodeFault(Exception):
    """This machine cannot do its work now; another one may. The text is for staff: it may name files.

    variant: of the model, if only that variant cannot be loaded here.
    """

    def __init__(self, fault: str, *, variant: str = "") -> None:
        super().__init__(fault)
        self.variant = variant


@contextmanager
def as_node_faults() -> Iterator[None]:
    """Raise NodeFault for an error that this machine has caused; every other error passes unchanged."""
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
    """The fault of this machine that has led to `error`, as a text for staff; None if there is none.

    The whole chain of causes is read: a full disk or a missing descriptor may be wrapped in an error that blames a
    customer's file. FFmpeg also uses a disk's error numbers for damaged files, so its errors count only if no other
    error wraps them: then they come from writing our own files.
    """
    wrapped = False
    link: BaseException | None = error
    while link is not None and not isinstance(link, StorageFailure):  # The storage's fault.
        if isinstance(link, NodeFault):
            return str(link)
        if isinstance(link, OSError) and _is_of_machine(link, wrapped=wrapped):
            place = f": {link.filename}" if link.filename else ""
            return f"{link.strerror or link}{place}"
        wrapped = True
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def is_local_disk_error(error: OSError) -> bool:
    """Whether this machine has no room, no free descriptor or no writable disk."""
    return error.errno in NO_DISK | NO_DESCRIPTORS


def worker_folders() -> tuple[Path, Path]:
    """The folders that a worker writes to. Raises FileNotFoundError if there is none for temporary files."""
    return Path(settings.WORK_DIR), Path(tempfile.gettempdir())


def _is_of_machine(error: OSError, *, wrapped: bool) -> bool:
    if error.errno in NO_DESCRIPTORS:
        return True
    import av  # Here, because web processes import this module for `is_local_disk_error` and never decode media.

    if isinstance(error, av.error.FFmpegError):
        return not wrapped and error.errno in NO_DISK
    # The kernel reports a broken disk by EIO.
    return error.errno in NO_DISK | NO_MEMORY | {errno.EIO} or (
        error.errno in NO_RIGHTS and _is_in_worker_folder(error.filename)
    )


def _is_in_worker_folder(filename: object) -> bool:
    if not isinstance(filename, str):
        return False
    return any(Path(filename).is_relative_to(folder) for folder in worker_folders())
