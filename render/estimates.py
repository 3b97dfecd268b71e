"""Where a render stands and how long it may still take. Estimates only: nothing decides by them.

However many renders are asked about, the number of queries stays the same.
"""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import ceil

from django.conf import settings
from django.db.models import Case, ExpressionWrapper, F, FloatField, Q, Sum, Value, When, Window
from django.db.models.fields import BooleanField
from django.db.models.functions import Coalesce, Now, RowNumber
from django_q.models import OrmQ

from render.engines import registry
from render.engines.base import FPS
from render.models import FINISHING, Attempt, Render, State

RECENT_RENDERS = 20
MOST_PLACES = 5000  # that are kept in mind; who waits behind them is looked up
TICKET_PATIENCE = timedelta(seconds=10)  # A free worker takes a ticket within its poll, which is below a second.
DEFAULT_PACE = {"draft": 0.5, "infinitetalk": 40.0}  # Seconds of work for a second of output, until it is measured.
DEFAULT_OUTPUT_SECONDS = 10.0  # Of a render whose voice is not measured yet, until there are others to judge by.
PREPARE_SECONDS = 2.0
FINISH_SECONDS = 2.0  # to join and store what is rendered
PLACE = ["queue", "phase", "tenant_id", "engine", "num_frames", "progress"]  # all that is read of the renders around


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


@dataclass(frozen=True)
class _Place:
    """Where a queued render stands, with the work up to and including its own."""

    queue: str
    phase: str
    rank: int
    work_until: float  # seconds
    delayed: bool
    max_concurrent: int


@dataclass(frozen=True)
class _Picture:
    seen_at: float
    paces: dict[str, _Pace]  # by engine
    at_work: dict[str, list[float]]  # seconds left of each render that runs, by queue
    running_of_tenant: dict[uuid.UUID, int]
    abandoned: set[str]  # queues whose tickets nobody takes
    places: dict[uuid.UUID, _Place]

    def shows(self, render: Render) -> bool:
        place = self.places.get(render.pk)
        return place is not None and (place.queue, place.phase) == (render.queue, render.phase)


_picture: _Picture | None = None
_looking = threading.Lock()


def estimate(renders: Iterable[Render]) -> dict[uuid.UUID, Estimate]:
    estimates: dict[uuid.UUID, Estimate] = {}
    active = []
    for render in renders:
        estimates[render.pk] = Estimate() if render.is_terminal else Estimate(poll_after_seconds=_poll_after(None))
        if not render.is_terminal:
            active.append(render)
    if not active:
        return estimates

    picture = _look()
    for render in active:
        if render.state == State.RUNNING and _is_foreseeable(render):
            left = ceil(_seconds_left(render, picture.paces))
            estimates[render.pk] = Estimate(eta_seconds=left, poll_after_seconds=_poll_after(left))

    queued = [render for render in active if render.state == State.QUEUED]
    new = [render for render in queued if not picture.shows(render)]
    places = {**picture.places, **(_places(picture.paces, of=new) if new else {})}
    for render in queued:
        if render.pk in places:
            estimates[render.pk] = _of_queued(render, places[render.pk], picture)
    return estimates


def _of_queued(render: Render, place: _Place, picture: _Picture) -> Estimate:
    if place.delayed:
        reason = WaitingReason.RETRY_DELAY
    elif render.queue in picture.abandoned:
        reason = WaitingReason.NO_WORKER
    elif picture.running_of_tenant[render.tenant_id] >= place.max_concurrent and render.phase not in FINISHING:
        reason = WaitingReason.CONCURRENCY_LIMIT
    else:
        reason = WaitingReason.NEXT if place.rank == 1 else WaitingReason.BEHIND_OTHERS
    eta = None
    if _is_foreseeable(render) and reason != WaitingReason.NO_WORKER:
        own = _seconds_left(render, picture.paces)
        workers = picture.at_work[render.queue]
        eta = ceil((sum(workers) + place.work_until - own) / max(len(workers), 1) + own)
    return Estimate(place.rank, reason, eta, _poll_after(eta))


def _look() -> _Picture:
    """What all who ask within ESTIMATE_SECONDS are told from: clients poll, and to rank a queue takes its time."""
    global _picture
    with _looking:
        if _picture is None or _picture.seen_at + settings.ESTIMATE_SECONDS <= time.monotonic():
            _picture = _take_picture()
        return _picture


def _take_picture() -> _Picture:
    paces = {engine: _recent_pace(engine) for engine in registry.names()}
    at_work: dict[str, list[float]] = defaultdict(list)
    running_of_tenant: dict[uuid.UUID, int] = defaultdict(int)
    for render in Render.objects.filter(state=State.RUNNING).only(*PLACE):
        at_work[render.queue].append(_seconds_left(render, paces))
        running_of_tenant[render.tenant_id] += 1
    # Where something runs there are workers, just no free one.
    abandoned = _queues_with_old_tickets() - at_work.keys()
    return _Picture(time.monotonic(), paces, at_work, running_of_tenant, abandoned, _places(paces))


def _queues_with_old_tickets() -> set[str]:
    old = OrmQ.objects.filter(lock__lte=Now() - TICKET_PATIENCE)
    return set(old.order_by().values_list("key", flat=True).distinct())


def _places(paces: dict[str, _Pace], *, of: list[Render] | None = None) -> dict[uuid.UUID, _Place]:
    """Of these renders, or of the first of all queues."""
    order = [
        Case(When(phase__in=FINISHING, then=0), default=1),
        F("priority").desc(),
        F("created_at").asc(),
        F("pk").asc(),
    ]
    work = Case(
        When(phase__in=FINISHING, then=Value(FINISH_SECONDS)),
        *[
            When(
                engine=engine,
                queue=registry.queue_of(engine),
                then=Coalesce(F("num_frames") / float(FPS), pace.output_seconds, output_field=FloatField())
                * Value(pace.work_seconds)
                * (1 - F("progress") / 100.0),
            )
            for engine, pace in paces.items()
        ],
        default=Value(PREPARE_SECONDS),
        output_field=FloatField(),
    )
    ranked = Render.objects.filter(state=State.QUEUED).annotate(
        rank=Window(RowNumber(), partition_by=F("queue"), order_by=order),
        work_until=Window(Sum(work), partition_by=F("queue"), order_by=order),
        delayed=ExpressionWrapper(Q(not_before__gt=Now()), output_field=BooleanField()),
        max_concurrent=F("tenant__plan__max_concurrent"),
    )
    if of is None:
        shown = ranked.order_by("rank")[:MOST_PLACES]
    else:
        # The disjunction keeps Postgres from narrowing the rows down before they are ranked; no rank is 0.
        wanted = Q(pk__in=[render.pk for render in of]) | Q(rank=0)
        shown = ranked.filter(wanted, queue__in={render.queue for render in of})
    rows = shown.values_list("pk", "queue", "phase", "rank", "work_until", "delayed", "max_concurrent")
    return {pk: _Place(*place) for pk, *place in rows}


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


def _seconds_left(render: Render, paces: dict[str, _Pace]) -> float:
    """Of the work that it will take in the queue where it is; `_ranked` says the same in SQL."""
    if render.phase in FINISHING:
        return FINISH_SECONDS
    if not _is_foreseeable(render):
        return PREPARE_SECONDS
    pace = paces[render.engine]
    output = pace.output_seconds if render.num_frames is None else render.num_frames / FPS
    return output * pace.work_seconds * (1 - render.progress / 100)


def _is_foreseeable(render: Render) -> bool:
    """Before it is in its engine's queue it is only prepared, and how long it will wait after that shows then."""
    if render.phase in FINISHING:
        return True
    return render.engine in registry.names() and render.queue == registry.queue_of(render.engine)


def _poll_after(eta_seconds: int | None) -> int:
    """Often enough to see the end soon, seldom enough for a render of an hour."""
    return 5 if eta_seconds is None else min(max(eta_seconds // 10, 1), 15)
