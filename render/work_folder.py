"""Where a worker keeps the files of the render in its hands."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from render.fence import Claim


@contextlib.contextmanager
def work_folder(claim: Claim) -> Iterator[Path]:
    work = Path(settings.WORK_DIR)
    _sweep(work)
    folder = work / f"{claim.render_id}-a{claim.attempt}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(work: Path) -> None:
    """Remove what killed workers have left; nothing alive is that old."""
    oldest = time.time() - 2 * settings.RENDER_TIMEOUT_SECONDS
    for left in work.glob("*-a*"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)
