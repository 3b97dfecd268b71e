"""Checks an uploaded file before it can be used: size, hash, and what it is. Never in the web process."""

import logging
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import ServiceError
from projects.assets import claims, discards
from projects.assets import services as assets
from projects.assets.claims import CheckLost, Keeper, claim, held, is_wanted, later
from projects.models import Asset, DiscardedObject
from render.lifecycle.transitions import COMMON_QUEUE
from render.machine import nodes, work_folder
from render.media.isolation.calls import Check
from render.models import Node
from render.node_faults import NodeFault, as_node_faults
from render.pipeline import media_inspection
from render.queue import tickets
from render.storage import content_types, media
from render.storage.failures import Reason, StorageFailure

logger = logging.getLogger(__name__)

STORAGE_PAUSE_SECONDS = 60  # After the first failure of the storage; it doubles with each, up to the next one.
LONGEST_PAUSE_SECONDS = 3600
FAILURE_PAUSE_SECONDS = 30
MAX_CHECKS = 5  # Broken off by the death of a worker or an unknown error.
EXPIRED_AT_ONCE = 50
STORE_TIME = timedelta(days=1)  # After it a check that has stored a file has ended, or was killed.


def check_next() -> bool:
    """Check the asset whose turn it is; False if there is none, or if this node or the storage cannot work."""
    node = nodes.heartbeat(COMMON_QUEUE)
    if not nodes.can_work(node):
        return False
    asset = claim(node)
    if asset is None:
        return False
    if is_wanted(node):
        claims.enqueue()  # Another worker may check another tenant's file meanwhile.
    try:
        return _check_claimed(asset, node)
    finally:
        tickets.top_up(COMMON_QUEUE)  # This check may have kept a render of the tenant from being prepared.


def _check_claimed(asset: Asset, node: Node) -> bool:
    """False if this node or the storage cannot work."""
    try:
        if asset.checks - asset.put_offs > MAX_CHECKS:
            raise ServiceError("worker_lost", f"The check of the file was broken off {MAX_CHECKS} times.")
        with as_node_faults(), work_folder.locked_folder(f"check-a{asset.checks}") as folder, Keeper(asset) as keeper:
            _check(asset, folder, keeper.check)
    except NodeFault as fault:
        logger.warning("Asset %s waits for another machine, or for this one: %s", asset.pk, fault)
        nodes.rest(node.pk, str(fault))
        # As with a render, a file that is too large for every machine waits longer each time.
        pauses = settings.NODE_FAULT_DELAYS
        put_off(asset, pauses[min(asset.put_offs - asset.storage_failures, len(pauses) - 1)])
        return False
    except ServiceError as error:
        _refuse(asset, error)
    except CheckLost:
        logger.warning("Asset %s is checked by another worker, or was deleted", asset.pk)
        held(asset).update(being_checked=False)
    except StorageFailure as failure:
        if not failure.reason.passes_later:
            logger.error("Asset %s is never taken by the storage: %s", asset.pk, failure)
            _refuse(asset, ServiceError("internal", "The file could not be stored."))
            return True
        logger.warning("Asset %s waits for the storage: %s", asset.pk, failure)
        _wait_for_storage(asset)
        return False
    except Exception:  # Counts as a try. The tenant's other files need not wait until the claim is over.
        held(asset).update(being_checked=False, check_after=later(FAILURE_PAUSE_SECONDS))
        raise
    return True


@transaction.atomic
def expire() -> None:
    """Give up uploads that have not arrived in time, and discard what may have arrived of them."""
    late = Asset.objects.filter(state=Asset.State.WAITING, uploaded_at=None, expires_at__lt=Now(), deleted_at=None)
    for asset in late.select_for_update(skip_locked=True, no_key=True)[:EXPIRED_AT_ONCE]:
        Asset.objects.filter(pk=asset.pk).update(state=Asset.State.EXPIRED, check_after=None)
        discards.discard_upload(asset)


def _check(asset: Asset, folder: Path, check: Check) -> None:
    path = folder / f"file{assets.suffix_of(asset.filename, asset.content_type)}"
    sha256 = _download(asset, path)
    longest = asset.tenant.plan.max_audio_seconds
    kind, facts = media_inspection.inspect(path, folder, max_audio_seconds=longest, check=check)
    _accept(asset, path, sha256=sha256, kind=kind, facts=facts)


def _download(asset: Asset, path: Path) -> str:
    """Copy the sent file to `path` and return its SHA-256. Raises ServiceError if it is not the announced file."""
    try:
        num_bytes = media.size(asset.key)
        if num_bytes == asset.num_bytes:
            num_bytes, sha256 = media.download(asset.key, path)
    except media.MissingObject:
        raise ServiceError("upload_missing", "The file was said to be complete, and is not there.") from None
    if num_bytes != asset.num_bytes:
        detail = f"The file has {num_bytes} bytes, {asset.num_bytes} were announced."
        raise ServiceError("size_mismatch", detail, param="bytes")
    if asset.sha256 and sha256 != asset.sha256:
        raise ServiceError("hash_mismatch", "The file's SHA-256 is not the announced one.", param="sha256")
    return sha256


def _accept(asset: Asset, path: Path, *, sha256: str, kind: str, facts: dict[str, Any]) -> None:
    """Store the checked file again, under a key to which no link for an upload leads.

    The upload's own link can be used until it expires, on some storages also after the check, so what lies there may
    change.
    """
    suffix = content_types.suffix_of(kind, facts)
    key = f"{asset.tenant_id}/assets/{asset.pk}-{uuid.uuid4().hex[:8]}{suffix}"
    # Recorded first: if this process is killed before the asset names the object, it is deleted all the same.
    discarded = discards.discard(key, after=timezone.now() + STORE_TIME)
    media.store_upload(path, key)
    with transaction.atomic():
        # Two equal files share one object. The lock waits for a deletion, after which the twin is not found.
        twins = Asset.objects.filter(tenant=asset.tenant_id, sha256=sha256, state=Asset.State.READY, deleted_at=None)
        twin = twins.select_for_update(no_key=True).first()
        # The asset may have been deleted meanwhile, or another worker has it because this one seemed dead.
        is_accepted = (
            held(asset)
            .filter(deleted_at=None)
            .update(
                state=Asset.State.READY,
                kind=kind,
                facts=facts,
                sha256=sha256,
                content_type=content_types.content_type_of(key),
                key=twin.key if twin else key,
                check_after=None,
                being_checked=False,
            )
        )
        if is_accepted:
            discards.discard_upload(asset)
        if not is_accepted or twin is not None:
            discards.discard(key)
        elif not DiscardedObject.objects.filter(pk=discarded.pk, tries=0).delete()[0]:
            raise StorageFailure(Reason.UNAVAILABLE, "It took so long that what was stored is being deleted.")


def put_off(asset: Asset, seconds: float) -> None:
    """Put off a check that this machine or the storage cannot do now; it does not count as a try."""
    held(asset).update(being_checked=False, check_after=later(seconds), put_offs=F("put_offs") + 1)


def _wait_for_storage(asset: Asset) -> None:
    """Put off a check because of the storage: longer each time."""
    pause = min(STORAGE_PAUSE_SECONDS * 2 ** min(asset.storage_failures, 10), LONGEST_PAUSE_SECONDS)
    held(asset).update(storage_failures=F("storage_failures") + 1)
    put_off(asset, pause)


@transaction.atomic
def _refuse(asset: Asset, error: ServiceError) -> None:
    is_refused = held(asset).update(
        state=Asset.State.ERRORED,
        error_code=error.code,
        error_message=error.detail,
        check_after=None,
        being_checked=False,
    )
    if is_refused:
        discards.discard_upload(asset)
