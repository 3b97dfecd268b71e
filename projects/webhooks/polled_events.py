"""Events without a transaction of their own (progress, thresholds, expiring keys): the reaper polls for them.

Each is recorded once, which its subject guarantees.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.models import ApiKey, UsageThreshold
from projects.models import Take
from projects.models.webhooks import EventType, WebhookEndpoint, WebhookEvent
from projects.webhooks import outbox
from render.models import State

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10  # Between two messages about one render.
EXPIRING = timedelta(days=7)
THRESHOLDS_OF = timedelta(days=1)  # A new endpoint gets no older ones.


def record(**_: object) -> None:
    """Record what has come since the last time. For the reaper."""
    finders = {
        EventType.PROGRESS: _progress,
        EventType.THRESHOLD_REACHED: _thresholds,
        EventType.KEY_EXPIRING: _expiring_keys,
    }
    if not WebhookEndpoint.objects.filter(disabled_at=None, events__overlap=list(finders)).exists():
        return
    for find in finders.values():
        try:
            with transaction.atomic():
                outbox.record_once(list(find()))
        except DATABASE_UNAVAILABLE:
            raise
        except Exception:  # The other kinds of events are recorded all the same.
            logger.exception("Events were not recorded: %s", find.__name__)


def _progress() -> Iterable[WebhookEvent]:
    recent = WebhookEvent.objects.filter(
        type=EventType.PROGRESS,
        render_id=OuterRef("render"),
        created_at__gt=Now() - timedelta(seconds=PROGRESS_SECONDS),
    )
    takes = Take.objects.filter(
        ~Exists(recent),
        _has_endpoint(EventType.PROGRESS, tenant="project__tenant", is_test=OuterRef("project__is_test")),
        render__state=State.RUNNING,
        project__deleted_at=None,
    )
    for project_id, render_id, progress in takes.values_list("project_id", "render_id", "render__progress"):
        subject = f"progress {render_id} {progress}"
        yield WebhookEvent(type=EventType.PROGRESS, subject=subject, project_id=project_id, render_id=render_id)


def _thresholds() -> Iterable[WebhookEvent]:
    passed = UsageThreshold.objects.filter(
        _has_endpoint(EventType.THRESHOLD_REACHED, is_test=False), created_at__gt=Now() - THRESHOLDS_OF
    )
    for row in passed.select_related("tenant__plan"):
        data = {
            "measure": row.measure,
            "percent": row.percent,
            "used": row.used,
            "allowed": row.allowed,
            "month": f"{row.month:%Y-%m}",
            "currency": row.tenant.plan.currency,
        }
        subject = f"threshold {row.pk}"
        yield WebhookEvent(type=EventType.THRESHOLD_REACHED, subject=subject, tenant=row.tenant, data=data)


def _expiring_keys() -> Iterable[WebhookEvent]:
    keys = ApiKey.objects.annotate(tests=Q(mode=ApiKey.Mode.TEST)).filter(
        _has_endpoint(EventType.KEY_EXPIRING, is_test=OuterRef("tests")),
        revoked_at=None,
        rotated_to=None,  # The tenant knows of a key that it has rotated.
        expires_at__range=(Now(), Now() + EXPIRING),
    )
    for key in keys:
        assert key.expires_at is not None
        expires_at = key.expires_at.isoformat()
        data = {"id": str(key.pk), "name": key.name, "prefix": key.prefix, "mode": key.mode, "expires_at": expires_at}
        yield WebhookEvent(
            type=EventType.KEY_EXPIRING,
            subject=f"expiring {key.pk} {expires_at}",
            tenant_id=key.tenant_id,
            is_test=key.is_test,
            data=data,
        )


def _has_endpoint(kind: EventType, *, is_test: OuterRef | bool, tenant: str = "tenant") -> Exists:
    """Whether the tenant has an enabled endpoint for this kind of events, of live or of test keys."""
    endpoints = WebhookEndpoint.objects.filter(disabled_at=None, events__contains=[kind])
    return Exists(endpoints.filter(tenant=OuterRef(tenant), is_test=is_test))
