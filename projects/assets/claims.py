"""When uploads are checked, whose comes next, and which worker has it.

One file of a tenant is checked at a time, its oldest first, and the tenants take turns: a tenant that sends twenty
files, each of which takes long to check, holds one worker. The cost of a claim does not depend on how many files wait.
"""

import logging
from datetime import timedelta
from uuid import UUID

from django.db import Error, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from accounts.models import Tenant
from projects.enqueue import enqueue_task
from projects.models import Asset, CheckTurn
from render.cluster.claim_thread import ClaimThread
from render.models import Node
from render.queue import selection

logger = logging.getLogger(__name__)

WORKER_SECONDS = 120  # A claim that is not renewed for this long is given to another worker.
RENEW_SECONDS = 20
OVERDUE = timedelta(seconds=10)  # Until then, the ticket of the upload itself is on its way.
_WAITING = Q(state=Asset.State.WAITING)


class CheckLost(Exception):
    """Another worker has the check now, or the asset was deleted."""


def enqueue() -> None:
    """Have the assets looked after soon. As for renders the ticket names no asset, so a lost one does no harm."""
    enqueue_task("tend_assets")


def enqueue_for(tenant_id: UUID) -> None:
    """To be called when a render of the tenant is prepared, which may have kept the tenant's uploads waiting."""
    if Asset.objects.filter(_WAITING, tenant=tenant_id, check_after__lte=Now(), deleted_at=None).exists():
        enqueue()


def enqueue_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, and uploads that never arrived."""
    unchecked = _WAITING & Q(check_after__lt=Now() - OVERDUE)
    expired = _WAITING & Q(uploaded_at=None, expires_at__lt=Now() - OVERDUE)
    if Asset.objects.filter(unchecked | expired, deleted_at=None).exists():
        enqueue()


@transaction.atomic
def claim(node: Node) -> Asset | None:
    """Claim the asset whose turn it is for a worker of the node; None if there is none."""
    selection.lock_claims()
    for tenant_id in _tenants_in_turn(node).values_list("pk", flat=True):
        due = _due().filter(tenant=tenant_id).order_by("check_after")
        asset = due.select_for_update(skip_locked=True, no_key=True).first()
        if asset is None:
            continue  # It is just being deleted.
        turn = CheckTurn(tenant_id=tenant_id, node=node, begun_at=Now())
        CheckTurn.objects.bulk_create(
            [turn], update_conflicts=True, unique_fields=["tenant"], update_fields=["node", "begun_at"]
        )
        asset.checks += 1
        Asset.objects.filter(pk=asset.pk).update(
            checks=asset.checks, being_checked=True, check_after=later(WORKER_SECONDS)
        )
        return asset
    return None


def is_wanted(node: Node) -> bool:
    """Whether another worker of the node would find an asset to check."""
    return _tenants_in_turn(node).exists()


def at_work(node: Node) -> QuerySet[Asset]:
    """The assets that the node's workers check. `render.queue.selection` counts them as work for a tenant."""
    return _in_hand().filter(tenant__check_turn__node=node)


def held(asset: Asset) -> QuerySet[Asset]:
    """The asset's row, as long as this worker holds the claim: `checks` grows with each claim."""
    return Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING, checks=asset.checks)


def later(seconds: float) -> CombinedExpression:
    """The time in so many seconds, by the database's clock."""
    return Now() + timedelta(seconds=seconds)


class Keeper(ClaimThread):
    """Renews a claim from a thread with a database connection of its own, since one call of a storage may take long.

    Such a call ends by the storage's own time limit. A process that is frozen renews nothing, and loses the claim.
    """

    def __init__(self, asset: Asset) -> None:
        super().__init__(name=f"check-{asset.pk}")
        self._asset = asset
        self._lost = False

    def check(self) -> None:
        """Raises CheckLost when this worker no longer holds the claim."""
        if self._lost:
            raise CheckLost

    def _keep(self) -> None:
        while not self._lost and not self._stop.wait(RENEW_SECONDS):
            try:
                ours = held(self._asset).filter(deleted_at=None)
                self._lost = not ours.update(check_after=later(WORKER_SECONDS))
            except Error as error:
                logger.warning("The check of asset %s: the database is away: %s", self._asset.pk, error)
                connection.close()


def _due() -> QuerySet[Asset]:
    return Asset.objects.filter(state=Asset.State.WAITING, check_after__lte=Now(), deleted_at=None)


def _in_hand() -> QuerySet[Asset]:
    # Deleted ones, too: their check ends a while later.
    return Asset.objects.filter(state=Asset.State.WAITING, being_checked=True, check_after__gt=Now())


def _tenants_in_turn(node: Node) -> QuerySet[Tenant]:
    """The tenants with a file that the node may check; the one whose latest turn is longest ago comes first."""
    oldest = _due().filter(tenant=OuterRef("pk")).order_by("check_after").values("check_after")[:1]
    return (
        Tenant.objects.alias(oldest=Subquery(oldest), used=selection.workers_used(node, OuterRef("pk")))
        .filter(
            ~Exists(_in_hand().filter(tenant=OuterRef("pk"))), oldest__isnull=False, used__lt=selection.most_workers()
        )
        .order_by(F("check_turn__begun_at").asc(nulls_first=True), "oldest")
    )
