"""Storing what an engine has rendered: segments, and the checkpoints from which the render can be resumed."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from render.engines.base import RenderedSegment
from render.fence import Claim
from render.lifecycle.lease import Lease
from render.models import Render
from render.storage import media
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)

STORAGE_TRIES = 40  # to store a segment, spread over STORAGE_PATIENCE_SECONDS


def store(
    path: Path,
    render: Render,
    claim: Claim,
    lease: Lease,
    *,
    put: Callable[[Path, Render, Claim], str] | None = None,
) -> str:
    """Store a segment or a checkpoint, or another file by `put`; return its key. Raises StorageFailure and what
    `lease.check` raises.

    It tries for STORAGE_PATIENCE_SECONDS: giving up would throw away what has just been made.
    """
    deadline = time.monotonic() + settings.STORAGE_PATIENCE_SECONDS
    while True:
        try:
            return (put or media.store_segment)(path, render, claim)
        except StorageFailure as failure:
            if not failure.reason.passes_later or time.monotonic() > deadline:
                raise
            logger.warning("Render %s: %s waits for the storage: %s", claim.render_id, path.name, failure)
        lease.check()
        lease.moved_on()  # STORAGE_PATIENCE_SECONDS limits this wait, not RENDER_TIMEOUT_SECONDS.
        time.sleep(settings.STORAGE_PATIENCE_SECONDS / STORAGE_TRIES)


def store_state(segment: RenderedSegment, render: Render, claim: Claim, lease: Lease, folder: Path) -> str:
    """Store the checkpoint after a segment; return its key, empty for an engine without a state. Raises as `store`."""
    if segment.checkpoint.state is None:
        return ""
    path = folder / f"state-{segment.index:05d}.bin"
    path.write_bytes(segment.checkpoint.state)
    key = store(path, render, claim, lease)
    path.unlink()  # Tens of megabytes, which only another attempt would read.
    return key


def delete_state(key: str) -> None:
    """Delete the checkpoint before the last one: no attempt resumes there, and a long video has many of them."""
    try:
        if key:
            media.delete(key)
    except StorageFailure as failure:
        logger.info("The checkpoint %s is left to the retention: %s", key, failure)
