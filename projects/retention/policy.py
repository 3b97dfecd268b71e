"""How long data are kept. Every hour what is older is deleted, files before the rows that name them.

Not deleted by time: projects of live keys, uploads of customers, usage, API keys, receipts of deletions, the audit log.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import CharField, DurationField, Exists, ExpressionWrapper, F, Model, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Now
from django_q.models import Task

from accounts.api import idempotency
from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.models import IdempotentResponse
from projects.assets import discards
from projects.assets import services as assets
from projects.enqueue import enqueue_task
from projects.models import Asset, Project, RetentionFailure, Take
from projects.models.webhooks import EventType, WebhookEvent
from projects.retention import project_deletion
from render.models import TERMINAL_STATES, Attempt, Render
from render.storage import media, removal
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)

# Videos, spoken scripts and projects of test keys are kept for the retention_days of the tenant's plan.
WORK = timedelta(days=7)  # Segments, checkpoints and sources, after the last render of their project.
EVENTS = timedelta(days=30)  # Webhook events with their deliveries.
PROGRESS = timedelta(days=1)  # Webhook events of progress.
DEAD_ASSETS = timedelta(days=30)  # Assets that were deleted, have expired or cannot be used.
ATTEMPTS = timedelta(days=90)  # After the end of their render.
FAILED_TASKS = timedelta(days=14)
BATCH = 1000  # Rows that one statement deletes.
PAGE = 200  # Rows with files that are in memory at a time.
AGAIN = timedelta(hours=1)  # After the first failure of a row; it doubles with each further one.
AGAIN_AT_MOST = timedelta(days=7)
IN_USE_AGAIN = timedelta(days=1)  # After which a row that was still in use is looked at again.
FAILURES_KEPT = timedelta(days=30)  # After the last try; by then the row was deleted in another way.
PROBE = "retention-probe"  # The name of a folder that never exists.
SECONDS_AT_ONCE = 3.0  # The rest is left to another ticket, since renders wait meanwhile.

Row = TypeVar("Row", bound=Model)


class _InUse(Exception):
    """The row is still in use, so it is kept."""


def run() -> None:
    """Delete what is due. After SECONDS_AT_ONCE the rest is left to another ticket."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    steps: list[Callable[[float], bool]] = [
        partial(_each, "test_projects", old_test_projects(), "updated_at", _delete_test_project),
        partial(_each, "films", videos(), "completed_at", removal.delete_videos),
        partial(_each, "work", work(), "completed_at", _delete_work),
        partial(_each, "speech", speech(), "created_at", _delete_speech),
        partial(_each, "dead_assets", dead_assets(), "created_at", _delete_dead_asset),
        partial(_rows, IdempotentResponse.objects.filter(created_at__lt=Now() - idempotency.KEPT)),
        partial(_rows, WebhookEvent.objects.filter(created_at__lt=Now() - EVENTS)),
        partial(_rows, WebhookEvent.objects.filter(type=EventType.PROGRESS, created_at__lt=Now() - PROGRESS)),
        partial(_rows, Attempt.objects.filter(render__completed_at__lt=Now() - ATTEMPTS)),
        partial(_rows, Task.objects.filter(stopped__lt=Now() - FAILED_TASKS)),
        _abandoned,
        partial(_rows, Session.objects.filter(expire_date__lt=Now())),
        partial(_rows, RetentionFailure.objects.filter(next_try_at__lt=Now() - FAILURES_KEPT)),
    ]
    is_left = False
    for step in steps:
        try:
            is_left |= step(deadline)
        except DATABASE_UNAVAILABLE:
            raise  # The database is away, also for the other steps.
        except Exception:
            logger.exception("A step of the retention has broken off, the next one goes on")
    if is_left:
        enqueue_task("keep_retention")


def old_test_projects() -> QuerySet[Project]:
    """Projects of test keys: they cost nothing, so without this they would become ever more."""
    kept = Project.objects.filter(is_test=True, deleted_at=None)
    return kept.filter(updated_at__lt=Now() - _by_plan("tenant__plan__retention_days"))


def videos() -> QuerySet[Render]:
    """Renders whose video is kept no longer, also if only a part of it was stored before the upload broke off."""
    ended = Render.objects.filter(state__in=TERMINAL_STATES, films_deleted_at=None)
    return ended.filter(completed_at__lt=Now() - _by_plan("tenant__plan__retention_days"))


def work() -> QuerySet[Render]:
    """Renders from whose work no other one can go on: the renders of a project may share segments."""
    siblings = Take.objects.filter(project__takes__render=OuterRef("pk"))
    needed = siblings.filter(Q(render__completed_at=None) | Q(render__completed_at__gte=Now() - WORK))
    return Render.objects.filter(~Exists(needed), work_deleted_at=None, completed_at__lt=Now() - WORK)


def speech() -> QuerySet[Asset]:
    """Spoken scripts whose time is over."""
    spoken = Asset.objects.filter(origin=Asset.Origin.SPEECH, deleted_at=None, avatars=None)
    return spoken.filter(created_at__lt=Now() - _by_plan("tenant__plan__retention_days"))


def dead_assets() -> QuerySet[Asset]:
    useless = Q(state__in=[Asset.State.EXPIRED, Asset.State.ERRORED], created_at__lt=Now() - DEAD_ASSETS, avatars=None)
    return Asset.objects.filter(useless | Q(deleted_at__lt=Now() - DEAD_ASSETS))


def _each(step: str, due: QuerySet[Row], by: str, delete: Callable[[Row], object], deadline: float) -> bool:
    """Delete the rows that are due, in the order of the field `by`; return whether the deadline has ended it.

    At least one row is handled, and none twice. A row that fails is skipped for a time that grows, one that is in use
    for a day. While the storage is away all rows wait for the next hour.
    """
    known = RetentionFailure.objects.filter(step=step)
    aside = known.filter(row_id=Cast(OuterRef("pk"), CharField()), next_try_at__gt=Now())
    for page in _pages(due.filter(~Exists(aside)), by):
        failing = set(known.filter(row_id__in=[str(row.pk) for row in page]).values_list("row_id", flat=True))
        for row in page:
            row_id = str(row.pk)
            try:
                delete(row)
            except DATABASE_UNAVAILABLE:
                raise
            except _InUse:
                _set_aside(step, row_id, IN_USE_AGAIN, failures=0, error="It is in use.")
            except Exception as failure:
                if isinstance(failure, StorageFailure) and not _storages_answer():
                    return False
                _step_aside(step, row, failure)
            else:
                if row_id in failing:
                    known.filter(row_id=row_id).delete()
            if time.monotonic() > deadline:
                return True
    return False


def _pages(due: QuerySet[Row], by: str) -> Iterator[list[Row]]:
    """Each row once, also if rows before it were deleted; PAGE rows are in memory at a time."""
    due = due.order_by(by, "pk")
    page = list(due[:PAGE])
    while page:
        last, pk = getattr(page[-1], by), page[-1].pk  # Read now: a deleted row has no pk.
        yield page
        page = list(due.filter(Q(**{f"{by}__gt": last}) | Q(**{by: last, "pk__gt": pk}))[:PAGE])


def _step_aside(step: str, row: Model, failure: Exception) -> None:
    # Anything but a failure of the storage is a bug, or damage: then the trace is needed.
    trace = None if isinstance(failure, StorageFailure) else failure
    logger.warning("%s %s is kept for now: %s", type(row).__name__, row.pk, failure, exc_info=trace)
    known = RetentionFailure.objects.filter(step=step, row_id=str(row.pk)).first()
    number = known.failures + 1 if known else 1
    wait = min(AGAIN * 2 ** min(number - 1, 10), AGAIN_AT_MOST)
    _set_aside(step, str(row.pk), wait, failures=number, error=str(failure)[:200])


def _set_aside(step: str, row_id: str, wait: timedelta, *, failures: int, error: str) -> None:
    defaults = {"failures": failures, "error": error, "next_try_at": Now() + wait}
    RetentionFailure.objects.update_or_create(step=step, row_id=row_id, defaults=defaults)


def _storages_answer() -> bool:
    """Whether the storage itself works: it deletes a folder that does not exist."""
    try:
        for prefix in ("", media.WORK):
            media.delete_folder(f"{prefix}{PROBE}")
    except Exception as failure:
        logger.warning("The storage is left alone for this time: %s", failure)
        return False
    return True


def _rows(due: QuerySet[Row], deadline: float) -> bool:
    """Delete the rows, at least one batch; return whether the deadline has ended it."""
    while due.model._default_manager.filter(pk__in=due.values("pk")[:BATCH]).delete()[0]:
        if time.monotonic() > deadline:
            return True
    return False


def _delete_test_project(project: Project) -> None:
    project_deletion.delete_project(project, None)


def _delete_work(render: Render) -> None:
    assets.delete_stray_speech(render)
    removal.delete_work(render)


def _delete_speech(asset: Asset) -> None:
    if not assets.delete_unused_speech(asset, within=timedelta(days=asset.tenant.plan.retention_days)):
        raise _InUse


def _delete_dead_asset(asset: Asset) -> None:
    discards.discard(asset.key)  # First, so that a crash in between leaves the row, and all is done again.
    asset.delete()


def _abandoned(deadline: float) -> bool:
    """Delete files that a process was receiving or storing when it was killed, and that no asset names."""
    has_deleted = False
    tried: set[str] = set()  # Often both storages are the same folder.
    for storage in media.every_storage():
        for name in storage.abandoned(seconds=settings.UPLOAD_SECONDS):
            if name in tried or discards.is_named(name):
                continue
            tried.add(name)
            try:
                storage.delete(name)
                has_deleted = True
            except StorageFailure as failure:
                logger.warning("%s is kept for now: %s", name, failure)
            if time.monotonic() > deadline:
                return has_deleted
    return False


def _by_plan(days: str) -> Combinable:
    return ExpressionWrapper(F(days) * Value(timedelta(days=1)), output_field=DurationField())
