"""The folder for the local files of one job: of a claimed render, or of the check of an upload."""

import contextlib
import fcntl
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from render.fence import Claim
from render.storage.private_folder import private_folder

LOCK = ".lock"  # A file that the folder's worker keeps locked; the kernel releases the lock when it ends.
LOCKLESS_SECONDS = 2 * 3600  # Without a lock, an older folder has no worker: a worker locks its folder at once.


def work_folder(claim: Claim) -> contextlib.AbstractContextManager[Path]:
    return locked_folder(f"{claim.render_id}-a{claim.attempt}")


@contextlib.contextmanager
def locked_folder(name: str) -> Iterator[Path]:
    """A new folder, removed at the end; by `sweep` if its worker was killed. name: must contain `-a`, for `sweep`."""
    sweep()
    folder = private_folder(Path(settings.WORK_DIR)) / f"{name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    try:
        with (folder / f"{LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{LOCK}.new").rename(folder / LOCK)  # So it is locked from its first moment under this name.
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the folders of killed workers: they contain customers' images and voices."""
    for folder in Path(settings.WORK_DIR).glob("*-a*/"):
        with contextlib.suppress(FileNotFoundError):  # Its worker has just removed it.
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # Its worker is about to lock it, or was killed at that moment.
        age: float = time.time() - folder.stat().st_mtime
        return age > LOCKLESS_SECONDS
    return True
