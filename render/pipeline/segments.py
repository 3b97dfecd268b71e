"""What an engine has rendered, on its way to the storage: segments, and the checkpoints to go on from."""

import logging
import time
from pathlib import Path

from django.conf import settings

from render.engines.base import RenderedSegment
from render.fence import Claim
from render.lifecycle.lease import RenderLease
from render.models import Render
from render.storage import media
from render.storage.errors import StorageFailure

logger = logging.getLogger(__name__)

STORAGE_TRIES = 40  # to store a segment, over STORAGE_PATIENCE_SECONDS


def store(path: Path, render: Render, claim: Claim, lease: RenderLease) -> str:
    """Return its key. Patiently: giving up would throw away what the engine has just rendered."""
    deadline = time.monotonic() + settings.STORAGE_PATIENCE_SECONDS
    while True:
        try:
            return media.store_piece(path, render, claim)
        except StorageFailure as failure:
            if not failure.reason.passes_later or time.monotonic() > deadline:
                raise
            logger.warning("Render %s: a segment waits for the storage: %s", claim.render_id, failure)
        lease.check()
        lease.moved_on()  # This waiting has a limit of its own.
        time.sleep(settings.STORAGE_PATIENCE_SECONDS / STORAGE_TRIES)


def store_state(segment: RenderedSegment, render: Render, claim: Claim, lease: RenderLease, folder: Path) -> str:
    """Return the key of its checkpoint; empty if the engine needs none."""
    if segment.checkpoint.state is None:
        return ""
    path = folder / f"state-{segment.index:05d}.bin"
    path.write_bytes(segment.checkpoint.state)
    key = store(path, render, claim, lease)
    (folder / Path(key).name).unlink()  # Tens of megabytes each, and only a later attempt reads it.
    return key


def forget_state(key: str) -> None:
    """Of the segment before the last one: nobody goes on from there, and those of a long film would fill a disk."""
    try:
        if key:
            media.delete(key)
    except StorageFailure as failure:
        logger.info("The checkpoint %s is left to the retention: %s", key, failure)
