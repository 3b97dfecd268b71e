"""The reaper: queues renders of dead workers again, adds missing tickets, fails renders that no node can render, and
those that have missed a deadline in the queue.

It runs from a django-q2 schedule and from a loop of its own (`manage.py reaper`), since a hanging cluster runs no
schedules. Several reapers may run at once: row locks keep them apart.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Now

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.errors import ServiceError
from render import deadlines
from render.lifecycle import retries, transitions
from render.machine import nodes
from render.models import ReaperClock, Render, State
from render.queue import selection, tickets
from render.signals import housekeeping

logger = logging.getLogger(__name__)

MISSED_RUNS = 2  # After which the reaper was away itself.


def run() -> int:
    """Reap and top up once; return how many renders were reaped."""
    reaped = 0 if _in_grace() else _reap_expired()
    _fail_overdue()
    for name in Render.objects.filter(state=State.QUEUED).order_by().values_list("queue", flat=True).distinct():
        with _alone(f"Failing what no node of queue {name} can render"):
            _fail_unloadable(name)
        with _alone(f"The tickets of queue {name}"):
            added = tickets.top_up(name)
            if added:
                logger.info("Added %d tickets to queue %s", added, name)
    for receiver, outcome in housekeeping.send_robust(sender=None):
        if isinstance(outcome, DATABASE_UNAVAILABLE):
            raise outcome
        if isinstance(outcome, Exception):
            logger.error("%s failed", receiver, exc_info=outcome)
    return reaped


@transaction.atomic
def _in_grace() -> bool:
    """Whether no render may be reaped now, because workers could not renew their leases.

    After a gap in the reaper's own runs the database was probably away. The workers then get the time of one lease to
    renew; the first run after that time reaps again.
    """
    missed = timedelta(seconds=MISSED_RUNS * settings.REAPER_INTERVAL_SECONDS)
    ReaperClock.objects.get_or_create(pk=1)
    ReaperClock.objects.filter(pk=1).update(
        grace_until=Case(
            When(
                Q(grace_until=None, last_run_at__lt=Now() - missed),
                then=Now() + timedelta(seconds=settings.RENDER_LEASE_SECONDS),
            ),
            When(grace_until__lte=Now(), then=Value(None)),
            default=F("grace_until"),
        ),
        last_run_at=Now(),
    )
    return ReaperClock.objects.filter(pk=1, grace_until__gt=Now()).exists()


def _reap_expired() -> int:
    return _each_locked(
        Render.objects.filter(state=State.RUNNING, lease_until__lt=Now()), _reap, what="The reaping of render"
    )


def _reap(render: Render) -> None:
    retries.reap(render)
    logger.warning("Render %s lost its worker in attempt %d", render.pk, render.attempt)


def _fail_overdue() -> None:
    """Fail queued renders that have missed a deadline."""
    _each_locked(Render.objects.filter(deadlines.MISSED, state=State.QUEUED), _fail, what="The end of render")


def _fail(render: Render) -> None:
    error = deadlines.missed(render)
    assert error is not None
    transitions.close(render, State.FAILED, error)
    logger.info("Render %s has missed a deadline: %s", render.pk, error.detail)


def _each_locked(renders: QuerySet[Render], act: Callable[[Render], None], *, what: str) -> int:
    """Do it for one render after the other, locked, each in a transaction of its own; return how many were done.

    After it a render must not be among `renders` any more.
    """
    done = 0
    failed: list[UUID] = []  # Left alone until the next run, so that they do not hold up the others.
    while True:
        with transaction.atomic():
            render = (
                renders.exclude(pk__in=failed).select_for_update(of=("self",), skip_locked=True, no_key=True).first()
            )
            if render is None:
                return done
            failed.append(render.pk)
            with _alone(f"{what} {render.pk}"), transaction.atomic():
                act(render)
                failed.pop()
                done += 1


def _fail_unloadable(queue_name: str) -> None:
    """Fail renders that need files of the model which are missing or damaged on every living node for a while.

    The renders wait as long as one node has the files, or all nodes may only have lost a network drive for a moment.
    """
    variants = nodes.unloadable_everywhere(queue_name)
    if not variants:
        return
    detail = "Files of the model that this render needs are missing or damaged. Another preset may work."
    for render in Render.objects.filter(selection.wants_variant(variants), queue=queue_name, state=State.QUEUED):
        with _alone(f"The end of render {render.pk}"):
            logger.error("Render %s fails: no node can load %s", render.pk, render.variant)
            transitions.fail_waiting(render, ServiceError("model_file_missing", detail), trace=variants[render.variant])


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """Log what fails in this block, which is tried again in the next run, and go on with the rest."""
    try:
        yield
    except DATABASE_UNAVAILABLE:
        raise  # The database is away.
    except Exception:
        logger.exception("%s failed", what)
