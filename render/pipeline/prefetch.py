"""Downloads the sources of the next renders to a node while it still works on the current one."""

import logging
from typing import cast

from render.queue import selection
from render.sources import Sources, source_keys
from render.storage import media

logger = logging.getLogger(__name__)

RENDERS_AHEAD = 2  # Another node may take the first of them.


def prefetch(queue_name: str, failed: set[str]) -> None:
    """Download the sources that the node does not have yet. A failure is harmless: the render tries again itself.

    failed: keys whose download has failed, which are not tried here again. This function updates it.
    """
    renders = selection.claimable(queue_name).exclude(sources__isnull=True)[:RENDERS_AHEAD]
    keys = {key for render in renders for key in source_keys(cast(Sources, render.sources))}
    failed &= keys  # Otherwise it would grow as long as the process runs.
    for key in keys - failed:
        try:
            media.cache_source(key)
        except (OSError, media.DamagedObject, media.MissingObject):
            logger.warning("Not downloaded ahead: %s", key, exc_info=True)
            failed.add(key)
