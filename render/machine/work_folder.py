"""Where a worker keeps the files of the render, or of the upload, in its hands."""

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

LOCK = ".lock"  # Held for as long as the folder's worker lives.
LOCKLESS_SECONDS = 2 * 3600  # An older folder without a lock has no worker: a worker locks its folder at once.


def work_folder(claim: Claim) -> contextlib.AbstractContextManager[Path]:
    return locked_folder(f"{claim.render_id}-a{claim.attempt}")


@contextlib.contextmanager
def locked_folder(name: str) -> Iterator[Path]:
    """A new folder, removed at the end, or by `sweep` after its worker's death. name: has `-a` in it, for `sweep`."""
    sweep()
    folder = private_folder(Path(settings.WORK_DIR)) / f"{name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    try:
        with (folder / f"{LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{LOCK}.new").rename(folder / LOCK)  # Locked from the first moment that it is there.
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what killed workers have left: they are customers' pictures and voices."""
    for folder in Path(settings.WORK_DIR).glob("*-a*/"):
        with contextlib.suppress(FileNotFoundError):  # Its worker is done with it.
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # Its worker is about to make it; or was killed at that moment, or is older than locks.
        age: float = time.time() - folder.stat().st_mtime
        return age > LOCKLESS_SECONDS
    return True
