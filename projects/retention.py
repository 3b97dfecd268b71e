"""How long things are kept. Every hour what is over is deleted, files before the rows that name them.

For ever: projects until they are deleted, what customers have uploaded until they delete it, usage, receipts of
deletions, and the audit log.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.files.storage import storages
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import CharField, DurationField, Exists, ExpressionWrapper, F, Model, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Now
from django_q.models import Task

from accounts import idempotency
from accounts.models import IdempotentResponse
from projects import assets, discards, tickets
from projects.models import Asset, RetentionFailure, Take
from projects.webhook_models import WebhookEvent
from render import objects, outputs
from render.models import TERMINAL_STATES, Attempt, Render
from render.storages.failures import StorageFailure
from render.storages.files import SignedFileStorage

logger = logging.getLogger(__name__)

# Films and spoken scripts: by the tenant's plan.
WORK = timedelta(days=7)  # segments, checkpoints and sources, after the last render of their project
EVENTS = timedelta(days=30)  # webhook events with their deliveries
DEAD_ASSETS = timedelta(days=30)  # that were deleted, have expired or cannot be used
ATTEMPTS = timedelta(days=90)  # after the end of their render
FAILED_TASKS = timedelta(days=14)
BATCH = 1000
AGAIN = timedelta(hours=1)  # after the first failure of a row; each further one doubles it, up to
AGAIN_AT_MOST = timedelta(days=7)
FAILURES_KEPT = timedelta(days=30)  # after the last try: somebody else has deleted the row
PROBE = "retention-probe"  # The name of a folder that never exists.
SECONDS_AT_ONCE = 3.0  # The rest is for another ticket: renders wait meanwhile.

Row = TypeVar("Row", bound=Model)


def run() -> None:
    """Delete what is over; what is left after some seconds, by another ticket."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    steps: list[Callable[[float], bool]] = [
        partial(_each, "films", films(), outputs.delete_films),
        partial(_each, "work", work(), _delete_work),
        partial(_each, "speech", speech(), _delete_speech),
        partial(_each, "dead_assets", dead_assets(), _delete_dead_asset),
        partial(_rows, IdempotentResponse.objects.filter(created_at__lt=Now() - idempotency.KEPT)),
        partial(_rows, WebhookEvent.objects.filter(created_at__lt=Now() - EVENTS)),
        partial(_rows, Attempt.objects.filter(render__completed_at__lt=Now() - ATTEMPTS)),
        partial(_rows, Task.objects.filter(stopped__lt=Now() - FAILED_TASKS)),
        _old_incoming,
        partial(_rows, Session.objects.filter(expire_date__lt=Now())),
        partial(_rows, RetentionFailure.objects.filter(next_try_at__lt=Now() - FAILURES_KEPT)),
    ]
    is_left = False
    for step in steps:
        try:
            is_left |= step(deadline)
        except (OperationalError, InterfaceError):
            raise  # The database is away, for the other steps, too.
        except Exception:
            logger.exception("A step of the retention has broken off, the next one goes on")
    if is_left:
        tickets.ring("keep_retention")


def films() -> QuerySet[Render]:
    """Renders whose film is kept no longer; or what was stored of it, by one that was broken off in its upload."""
    ended = Render.objects.filter(state__in=TERMINAL_STATES, films_deleted_at=None)
    return ended.filter(completed_at__lt=Now() - _by_plan("tenant__plan__retention_days")).order_by("completed_at")


def work() -> QuerySet[Render]:
    """Renders from which no other one can go on any more: those of a project may share their segments."""
    siblings = Take.objects.filter(project__takes__render=OuterRef("pk"))
    needed = siblings.filter(Q(render__completed_at=None) | Q(render__completed_at__gte=Now() - WORK))
    ended = Render.objects.filter(~Exists(needed), work_deleted_at=None, completed_at__lt=Now() - WORK)
    return ended.order_by("completed_at")


def speech() -> QuerySet[Asset]:
    """What was spoken of scripts for films that are kept no longer."""
    spoken = Asset.objects.filter(origin=Asset.Origin.SPEECH, deleted_at=None, avatars=None)
    return spoken.filter(created_at__lt=Now() - _by_plan("tenant__plan__retention_days")).order_by("created_at")


def dead_assets() -> QuerySet[Asset]:
    useless = Q(state__in=[Asset.State.EXPIRED, Asset.State.ERRORED], created_at__lt=Now() - DEAD_ASSETS, avatars=None)
    return Asset.objects.filter(useless | Q(deleted_at__lt=Now() - DEAD_ASSETS)).order_by("created_at")


def _each(step: str, due: QuerySet[Row], delete: Callable[[Row], object], deadline: float) -> bool:
    """Delete what is due, one row at least; whether it ended because of the deadline.

    A row that fails steps aside for a time that grows. While the storage is away, all wait for the next hour.
    """
    known = RetentionFailure.objects.filter(step=step)
    aside = known.filter(row_id=Cast(OuterRef("pk"), CharField()), next_try_at__gt=Now())
    failing = set(known.values_list("row_id", flat=True))
    for row in due.filter(~Exists(aside))[:BATCH].iterator():
        try:
            delete(row)
        except (OperationalError, InterfaceError):
            raise
        except Exception as failure:
            if isinstance(failure, StorageFailure) and not _storages_answer():
                return False
            _step_aside(step, row, failure)
        else:
            if str(row.pk) in failing:
                known.filter(row_id=str(row.pk)).delete()
        if time.monotonic() > deadline:
            return True
    return False


def _step_aside(step: str, row: Model, failure: Exception) -> None:
    # What is no failure of the storage is a bug, or damage: then the trace is needed.
    trace = None if isinstance(failure, StorageFailure) else failure
    logger.warning("%s %s is kept for now: %s", type(row).__name__, row.pk, failure, exc_info=trace)
    known = RetentionFailure.objects.filter(step=step, row_id=str(row.pk)).first()
    number = known.failures + 1 if known else 1
    wait = min(AGAIN * 2 ** min(number - 1, 10), AGAIN_AT_MOST)
    RetentionFailure.objects.update_or_create(
        step=step,
        row_id=str(row.pk),
        defaults={"failures": number, "error": str(failure)[:200], "next_try_at": Now() + wait},
    )


def _storages_answer() -> bool:
    """Whether it is the rows that fail, and not the storage: deleting nothing still works."""
    try:
        for prefix in ("", objects.WORK):
            objects.delete_folder(f"{prefix}{PROBE}")
    except Exception as failure:
        logger.warning("The storage is left alone for this time: %s", failure)
        return False
    return True


def _rows(due: QuerySet[Row], deadline: float) -> bool:
    """Delete them, one batch at least; whether it ended because of the deadline."""
    while due.model._default_manager.filter(pk__in=due.values("pk")[:BATCH]).delete()[0]:
        if time.monotonic() > deadline:
            return True
    return False


def _delete_work(render: Render) -> None:
    assets.delete_stray_speech(render)
    outputs.delete_work(render)


def _delete_speech(asset: Asset) -> None:
    assets.delete_unused_speech(asset, within=timedelta(days=asset.tenant.plan.retention_days))


@transaction.atomic
def _delete_dead_asset(asset: Asset) -> None:
    discards.discard(asset.key)
    asset.delete()


def _old_incoming(deadline: float) -> bool:
    """What a web process was receiving when it was killed, and no asset names."""
    storage = storages["default"]
    if not isinstance(storage, SignedFileStorage):
        return False
    for name in storage.old_incoming(seconds=settings.UPLOAD_SECONDS):
        discards.discard(name)
        if time.monotonic() > deadline:
            break  # The next ticket would find the same ones, until they are deleted; the next hour's does not.
    return False


def _by_plan(days: str) -> Combinable:
    return ExpressionWrapper(F(days) * Value(timedelta(days=1)), output_field=DurationField())
