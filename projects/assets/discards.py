"""Stored objects that are no longer needed: recorded in the transaction that makes them so, and deleted later.

So no request waits for the storage, and no object is forgotten while the storage is away.
"""

import logging
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from projects.due_rows import claim_first
from projects.enqueue import enqueue_task
from projects.models import Asset, DiscardedObject
from render.storage import media
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 60  # After the first failure; it doubles with each further one.
LONGEST_PAUSE_SECONDS = 3600
# A storage checks whether a link is valid when a request begins; the body of a large file may arrive long after.
LAST_BODY = timedelta(hours=1)
_AWAY = "discards:away"  # In the worker's cache while it leaves alone a storage that does not answer.
USELESS = (Asset.State.EXPIRED, Asset.State.ERRORED)


def discard(key: str, *, after: datetime | None = None) -> DiscardedObject:
    """Have the object deleted, unless an asset names it by then. after: not before; default: the reaper's next run.

    Call `enqueue` to have it deleted sooner.
    """
    return DiscardedObject.objects.create(key=key, **({} if after is None else {"delete_after": after}))


def discard_upload(asset: Asset) -> None:
    """Discard the object that was sent for the asset, and what may be sent there again while its link is valid."""
    discard(asset.key)
    if asset.expires_at is not None and asset.expires_at + LAST_BODY > timezone.now():
        discard(asset.key, after=asset.expires_at + LAST_BODY)


def enqueue() -> None:
    """Have discarded objects deleted soon."""
    enqueue_task("delete_media")


def due() -> QuerySet[DiscardedObject]:
    return DiscardedObject.objects.filter(delete_after__lte=Now())


def delete_next() -> bool:
    """Delete the object that has been due for longest; False if there is none, or if the storage does not answer."""
    discarded = None if cache.get(_AWAY) else _claim()
    if discarded is None:
        return False
    try:
        if not is_named(discarded.key):
            media.storage_of(discarded.key).delete(discarded.key)
    except StorageFailure as failure:
        logger.warning("The object %s is still there: %s", discarded.key, failure)
        if failure.reason.passes_at_once:
            # The other objects would only wait for the same storage, one after the other.
            cache.set(_AWAY, True, FIRST_PAUSE_SECONDS)
        return not failure.reason.passes_at_once
    discarded.delete()
    return True


def _claim() -> DiscardedObject | None:
    return claim_first(due().order_by("delete_after"), time_field="delete_after", again_after=_pause, counter="tries")


def _pause(discarded: DiscardedObject) -> timedelta:
    return timedelta(seconds=min(FIRST_PAUSE_SECONDS * 2 ** min(discarded.tries, 10), LONGEST_PAUSE_SECONDS))


def is_named(key: str) -> bool:
    """Whether an asset names the object. Once none does, none will.

    A key is taken over only from an existing asset, whose row is locked for that.
    """
    return Asset.objects.filter(key=key, deleted_at=None).exclude(state__in=USELESS).exists()
