"""Brings the sources of the next renders to a node while it still works on the one before."""

import logging
from typing import cast

from render.queue import selection
from render.sources import Sources, keys_of
from render.storage import media

logger = logging.getLogger(__name__)

RENDERS_AHEAD = 2  # Another node may take the first of them.


def prefetch(queue_name: str, failed: set[str]) -> None:
    """Fetch what the node does not have yet. A failure costs nothing: the render fetches it again, and reports it.

    failed: keys that were tried in vain, and are not tried ahead again; it is kept up to date here.
    """
    renders = selection.claimable(queue_name).exclude(sources__isnull=True)[:RENDERS_AHEAD]
    keys = {key for render in renders for key in keys_of(cast(Sources, render.sources))}
    failed &= keys  # Else it would grow for as long as the process lives.
    for key in keys - failed:
        try:
            media.keep_source(key)
        except (OSError, media.DamagedObject, media.MissingObject):
            logger.warning("Not fetched ahead: %s", key, exc_info=True)
            failed.add(key)
