"""What has arrived is read to its end before it can be used: size, hash, and what it is. Never in the web process.

One file of a tenant is checked at a time, and the tenants take turns: whoever sends twenty files, each of which takes
as long as a check may, holds one worker.
"""

import logging
import time
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from accounts.errors import ServiceError
from projects import assets
from projects.models import Asset
from render import inspection, objects, work_folder
from render.storages.failures import StorageFailure

logger = logging.getLogger(__name__)

WORKER_SECONDS = 300  # After which a check is taken from a worker that has not renewed it.
RENEW_SECONDS = 60
STORAGE_PAUSE_SECONDS = 60
FAILURE_PAUSE_SECONDS = 30
MAX_CHECKS = 5  # that are broken off, by the death of a worker or an unknown error
_CLAIM_LOCK = 0x41535354  # Any number that nothing else on this database uses.
EXPIRED_AT_ONCE = 50


class CheckLost(Exception):
    """Another worker has the check now, or the asset was deleted."""


def check_next() -> bool:
    """Check the asset whose turn it is; False when there is none."""
    asset = _claim()
    if asset is None:
        return False
    try:
        if asset.checks - asset.put_offs > MAX_CHECKS:
            raise ServiceError("worker_lost", f"The check of the file was broken off {MAX_CHECKS} times.")
        with work_folder.locked_folder(f"check-a{asset.checks}") as folder:
            _check(asset, folder)
    except ServiceError as error:
        _refuse(asset, error)
    except CheckLost:
        logger.warning("Asset %s is checked by another worker, or was deleted", asset.pk)
        _held(asset).update(being_checked=False)
    except StorageFailure as failure:
        logger.warning("Asset %s waits for the storage: %s", asset.pk, failure)
        put_off(asset, STORAGE_PAUSE_SECONDS)
    except Exception:  # It counts, and the tenant's other files need not wait until the claim is over.
        _held(asset).update(being_checked=False, check_after=_in(FAILURE_PAUSE_SECONDS))
        raise
    return True


def put_off(asset: Asset, seconds: float) -> None:
    """Give a check up that this machine or the storage cannot do now; it does not count."""
    _held(asset).update(being_checked=False, check_after=_in(seconds), put_offs=F("put_offs") + 1)


def expire() -> None:
    """Give up uploads that have not come in time, and delete what there may be of them."""
    late = Asset.objects.filter(state=Asset.State.WAITING, uploaded_at=None, expires_at__lt=Now(), deleted_at=None)
    for asset in late[:EXPIRED_AT_ONCE]:
        if late.filter(pk=asset.pk).update(state=Asset.State.EXPIRED, check_after=None):
            try:
                assets.delete_object(asset.key)
            except StorageFailure as failure:
                logger.warning("What may be there of the expired upload %s stays: %s", asset.pk, failure)


@transaction.atomic
def _claim() -> Asset | None:
    with connection.cursor() as cursor:
        # One claim at a time, else two workers could each see that nothing of a tenant is being checked.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])
    waiting = Asset.objects.filter(state=Asset.State.WAITING)
    # A deleted one, too: its check ends a while later.
    in_hand = waiting.filter(tenant=OuterRef("tenant"), being_checked=True, check_after__gt=Now())
    due = waiting.filter(~Exists(in_hand), check_after__lte=Now(), deleted_at=None)
    asset = due.order_by("check_after", "uploaded_at").select_for_update(skip_locked=True, no_key=True).first()
    if asset is not None:
        # The tenant's other files go behind those of all others.
        waiting.filter(tenant=asset.tenant_id, check_after__lte=Now()).exclude(pk=asset.pk).update(check_after=Now())
        asset.checks += 1
        Asset.objects.filter(pk=asset.pk).update(
            checks=asset.checks, being_checked=True, check_after=_in(WORKER_SECONDS)
        )
    return asset


def _held(asset: Asset) -> QuerySet[Asset]:
    """The asset's row, as long as the check is this worker's: `checks` grows with each claim."""
    return Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING, checks=asset.checks)


class _Claim:
    """Renews the claim of a check that goes on. Raises CheckLost when it is not ours any more."""

    def __init__(self, asset: Asset) -> None:
        self._asset = asset
        self._renewed_at = time.monotonic()

    def check(self) -> None:
        if time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return
        if not _held(self._asset).filter(deleted_at=None).update(check_after=_in(WORKER_SECONDS)):
            raise CheckLost
        self._renewed_at = time.monotonic()


def _in(seconds: float) -> CombinedExpression:
    """So many seconds from now, by the clock of the database."""
    return Now() + timedelta(seconds=seconds)


def _check(asset: Asset, folder: Path) -> None:
    path = folder / f"file{Path(asset.key).suffix}"
    claim = _Claim(asset)
    try:
        num_bytes, sha256 = objects.bring(asset.key, path)
    except FileNotFoundError:
        raise ServiceError("asset_not_found", "The file is not in the storage.") from None
    if num_bytes != asset.num_bytes:
        detail = f"The file has {num_bytes} bytes, {asset.num_bytes} were announced."
        raise ServiceError("size_mismatch", detail, param="bytes")
    if asset.sha256 and sha256 != asset.sha256:
        raise ServiceError("hash_mismatch", "The file's SHA-256 is not the announced one.", param="sha256")
    longest = asset.tenant.plan.max_audio_seconds
    kind, facts = inspection.inspect(path, folder, max_audio_seconds=longest, check=claim.check)
    with transaction.atomic():
        # Two equal files share one object.
        twin = Asset.objects.filter(
            tenant=asset.tenant_id, sha256=sha256, state=Asset.State.READY, deleted_at=None
        ).first()
        is_ours = _held(asset).update(
            state=Asset.State.READY,
            kind=kind,
            facts=facts,
            sha256=sha256,
            key=twin.key if twin else asset.key,
            check_after=None,
            being_checked=False,
        )
    if is_ours and twin is not None and twin.key != asset.key:
        assets.delete_object(asset.key)


def _refuse(asset: Asset, error: ServiceError) -> None:
    is_ours = _held(asset).update(
        state=Asset.State.ERRORED,
        error_code=error.code,
        error_message=error.detail,
        check_after=None,
        being_checked=False,
    )
    if not is_ours:  # Another worker has it now, and may have found it good.
        return
    try:
        objects.storage_of(asset.key).delete(asset.key)
    except StorageFailure as failure:
        logger.warning("The refused upload %s stays in the storage: %s", asset.pk, failure)
