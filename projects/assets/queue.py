"""When assets are looked at: by a ticket of the CPU queue, without an id as for renders, so a lost one does no harm."""

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from projects import enqueue
from projects.models import Asset

OVERDUE = timedelta(seconds=10)  # Until then, the ticket of the upload itself is on its way.
_WAITING = Q(state=Asset.State.WAITING)


def ring() -> None:
    enqueue.ring("tend_assets")


def ring_for(tenant_id: UUID) -> None:
    """None of the tenant's renders is being prepared any more, which may have kept its uploads from being checked."""
    if Asset.objects.filter(_WAITING, tenant=tenant_id, check_after__lte=Now(), deleted_at=None).exists():
        ring()


def ring_if_due(**_: object) -> None:
    """For the reaper: what was left by a dead worker, and uploads that never came."""
    unchecked = _WAITING & Q(check_after__lt=Now() - OVERDUE)
    expired = _WAITING & Q(uploaded_at=None, expires_at__lt=Now() - OVERDUE)
    if Asset.objects.filter(unchecked | expired, deleted_at=None).exists():
        ring()
