"""Where a render stands and how long it may still take. Estimates only: nothing decides by them.

However many renders are asked about, the number of queries stays the same.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import ceil

from django.db.models import Case, ExpressionWrapper, F, FloatField, Q, Sum, Value, When, Window
from django.db.models.expressions import Combinable
from django.db.models.fields import BooleanField
from django.db.models.functions import Coalesce, Now, RowNumber
from django_q.models import OrmQ

from render.engines import registry
from render.engines.base import FPS
from render.models import Attempt, Render, State

RECENT_RENDERS = 20
TICKET_PATIENCE = timedelta(seconds=10)  # A free worker takes a ticket within its poll, which is below a second.
DEFAULT_PACE = {"draft": 0.5, "infinitetalk": 40.0}  # Seconds of work for a second of output, until it is measured.
DEFAULT_OUTPUT_SECONDS = 10.0  # Of a render whose voice is not measured yet, until there are others to judge by.


class WaitingReason(StrEnum):
    NEXT = "next"
    BEHIND_OTHERS = "behind_others"
    CONCURRENCY_LIMIT = "concurrency_limit"
    NO_WORKER = "no_worker"
    RETRY_DELAY = "retry_delay"


@dataclass(frozen=True)
class Estimate:
    queue_position: int | None = None  # 1: the next one
    waiting_reason: WaitingReason | None = None
    eta_seconds: int | None = None  # until it is finished
    poll_after_seconds: int | None = None  # None: nothing will change any more


@dataclass(frozen=True)
class _Pace:
    """What the recent renders of an engine tell about the next one."""

    work_seconds: float  # for a second of output
    output_seconds: float


def estimate(renders: Iterable[Render]) -> dict[uuid.UUID, Estimate]:
    estimates = {render.pk: Estimate() for render in renders}
    active = [render for render in renders if not render.is_terminal]
    if not active:
        return estimates
    paces = {engine: _recent_pace(engine) for engine in registry.names()}
    running = Render.objects.filter(state=State.RUNNING).only("queue", "tenant_id", "engine", "num_frames", "progress")
    seconds_left: dict[str, list[float]] = defaultdict(list)
    running_of_tenant: dict[uuid.UUID, int] = defaultdict(int)
    for render in running:
        seconds_left[render.queue].append(_seconds_left(render, paces))
        running_of_tenant[render.tenant_id] += 1

    for render in active:
        if render.state == State.RUNNING:
            # Prepared here, it has yet to wait in its engine's queue: how long, shows when it is there.
            here = render.queue == _engine_queue(render)
            eta = ceil(_seconds_left(render, paces)) if here else None
            estimates[render.pk] = Estimate(eta_seconds=eta, poll_after_seconds=_poll_after(eta))

    queued = [render for render in active if render.state == State.QUEUED]
    if not queued:
        return estimates
    abandoned = set(
        OrmQ.objects.filter(lock__lte=Now() - TICKET_PATIENCE).order_by().values_list("key", flat=True).distinct()
    ) - set(seconds_left)  # Where something runs there are workers, just no free one.
    for render in _with_rank([render.pk for render in queued], paces):
        reason = WaitingReason.NEXT if render.rank == 1 else WaitingReason.BEHIND_OTHERS
        if render.delayed:
            reason = WaitingReason.RETRY_DELAY
        elif render.queue in abandoned:
            reason = WaitingReason.NO_WORKER
        elif running_of_tenant[render.tenant_id] >= render.tenant.plan.max_concurrent:
            reason = WaitingReason.CONCURRENCY_LIMIT
        eta = None
        if reason != WaitingReason.NO_WORKER and render.queue == _engine_queue(render):
            at_work = seconds_left[render.queue]
            own = _work_seconds(render, paces)
            eta = ceil((sum(at_work) + render.work_until - own) / max(len(at_work), 1) + own)
        estimates[render.pk] = Estimate(render.rank, reason, eta, _poll_after(eta))
    return estimates


def _with_rank(keys: list[uuid.UUID], paces: dict[str, _Pace]):  # type: ignore[no-untyped-def]
    """The queued renders, each with its place in its queue and the work up to and including its own."""
    order = [F("priority").desc(), F("created_at").asc(), F("pk").asc()]
    work = Case(
        *[
            When(engine=engine, then=_frames_or(pace.output_seconds) * Value(pace.work_seconds / FPS))
            for engine, pace in paces.items()
        ],
        default=Value(0.0),
        output_field=FloatField(),
    )
    return (
        Render.objects.filter(state=State.QUEUED)
        .annotate(
            rank=Window(RowNumber(), partition_by=F("queue"), order_by=order),
            work_until=Window(Sum(work), partition_by=F("queue"), order_by=order),
            delayed=ExpressionWrapper(Q(not_before__gt=Now()), output_field=BooleanField()),
        )
        .filter(pk__in=keys)
        .select_related("tenant__plan")
    )


def _frames_or(output_seconds: float) -> Combinable:
    return Coalesce(F("num_frames"), Value(output_seconds * FPS), output_field=FloatField())


def _recent_pace(engine: str) -> _Pace:
    # From the newest attempts back: the primary key is the only index that is needed.
    recent = Attempt.objects.filter(
        outcome=Attempt.Outcome.DONE, render__engine=engine, render__state=State.FINISHED
    ).order_by("-pk")
    renders = (
        Render.objects.filter(pk__in=recent.values("render")[:RECENT_RENDERS], duration_seconds__gt=0)
        .annotate(work_seconds=Sum("attempts__render_seconds"))
        .values_list("work_seconds", "duration_seconds")
    )
    work, output = [], []
    for work_seconds, output_seconds in renders:
        work.append(work_seconds or 0.0)
        output.append(output_seconds or 0.0)
    if not output:
        return _Pace(DEFAULT_PACE.get(engine, 1.0), DEFAULT_OUTPUT_SECONDS)
    return _Pace(sum(work) / sum(output), sum(output) / len(output))


def _work_seconds(render: Render, paces: dict[str, _Pace]) -> float:
    pace = paces.get(render.engine)
    if pace is None:  # The engine was taken out of the settings.
        return 0.0
    output = pace.output_seconds if render.num_frames is None else render.num_frames / FPS
    return output * pace.work_seconds


def _seconds_left(render: Render, paces: dict[str, _Pace]) -> float:
    return _work_seconds(render, paces) * (1 - render.progress / 100)


def _engine_queue(render: Render) -> str | None:
    return registry.queue_of(render.engine) if render.engine in registry.names() else None


def _poll_after(eta_seconds: int | None) -> int:
    """Often enough to see the end soon, seldom enough for a render of an hour."""
    return 5 if eta_seconds is None else min(max(eta_seconds // 10, 1), 15)
