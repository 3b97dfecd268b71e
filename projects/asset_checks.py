"""What has arrived is read to its end before it can be used: size, hash, and what it is. Never in the web process."""

import logging
import tempfile
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.errors import ServiceError
from projects import assets
from projects.models import Asset
from render import inspection, nodes, objects
from render.lifecycle import COMMON_QUEUE
from render.node_faults import NodeFault, recognised
from render.storages.failures import StorageFailure

logger = logging.getLogger(__name__)

WORKER_SECONDS = 300  # After which a check is taken from a worker that has not ended it.
STORAGE_PAUSE_SECONDS = 60
NODE_PAUSE_SECONDS = 10  # until another machine, or this one, checks what this one could not
MAX_CHECKS = 5
EXPIRED_AT_ONCE = 50


def check_next() -> bool:
    """Check the asset that has waited longest; False when there is none, or when this machine cannot work."""
    node = nodes.beat(COMMON_QUEUE)
    if not nodes.can_work(node):
        return False
    asset = _claim()
    if asset is None:
        return False
    work = Path(settings.WORK_DIR)
    try:
        if asset.checks > MAX_CHECKS:
            raise ServiceError("internal", "The file could not be checked.")
        with recognised(), tempfile.TemporaryDirectory(prefix="check-", dir=work) as folder:
            _check(asset, Path(folder))
    except NodeFault as fault:
        logger.warning("Asset %s waits for another machine, or for this one: %s", asset.pk, fault)
        nodes.rest(node.pk, str(fault))
        _put_back(asset, NODE_PAUSE_SECONDS)
        return False
    except ServiceError as error:
        _refuse(asset, error)
    except StorageFailure as failure:
        logger.warning("Asset %s waits for the storage: %s", asset.pk, failure)
        _put_back(asset, STORAGE_PAUSE_SECONDS)
    return True


def _put_back(asset: Asset, seconds: float) -> None:
    """For a later check. This one does not count: the file is not to blame."""
    waiting = Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING)
    waiting.update(check_after=Now() + timedelta(seconds=seconds), checks=asset.checks - 1)


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
    due = Asset.objects.filter(state=Asset.State.WAITING, check_after__lte=Now(), deleted_at=None)
    asset = due.order_by("check_after").select_for_update(skip_locked=True, no_key=True).first()
    if asset is not None:
        asset.checks += 1
        later = Now() + timedelta(seconds=WORKER_SECONDS)
        Asset.objects.filter(pk=asset.pk).update(checks=asset.checks, check_after=later)
    return asset


def _check(asset: Asset, folder: Path) -> None:
    path = folder / f"file{Path(asset.key).suffix}"
    try:
        num_bytes, sha256 = objects.bring(asset.key, path)
    except FileNotFoundError:
        raise ServiceError("asset_not_found", "The file is not in the storage.") from None
    if num_bytes != asset.num_bytes:
        detail = f"The file has {num_bytes} bytes, {asset.num_bytes} were announced."
        raise ServiceError("size_mismatch", detail, param="bytes")
    if asset.sha256 and sha256 != asset.sha256:
        raise ServiceError("hash_mismatch", "The file's SHA-256 is not the announced one.", param="sha256")
    kind, facts = inspection.inspect(path, folder, max_audio_seconds=asset.tenant.plan.max_audio_seconds)
    with transaction.atomic():
        # Two equal files share one object.
        twin = Asset.objects.filter(
            tenant=asset.tenant_id, sha256=sha256, state=Asset.State.READY, deleted_at=None
        ).first()
        Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING).update(
            state=Asset.State.READY,
            kind=kind,
            facts=facts,
            sha256=sha256,
            key=twin.key if twin else asset.key,
            check_after=None,
        )
    if twin is not None and twin.key != asset.key:
        assets.delete_object(asset.key)


def _refuse(asset: Asset, error: ServiceError) -> None:
    Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING).update(
        state=Asset.State.ERRORED, error_code=error.code, error_message=error.detail, check_after=None
    )
    try:
        objects.storage_of(asset.key).delete(asset.key)
    except StorageFailure as failure:
        logger.warning("The refused upload %s stays in the storage: %s", asset.pk, failure)
