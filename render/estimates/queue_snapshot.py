"""The queues as they stand, looked at once a second for all who ask: what `render.estimates.completion` tells from."""

import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FloatField,
    OuterRef,
    Q,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.fields import BooleanField
from django.db.models.functions import Coalesce, Now, RowNumber
from django.utils import timezone
from django_q.models import OrmQ

from render.engines import registry
from render.engines.base import FPS
from render.machine import nodes
from render.models import FINISHING, Attempt, Render, Segment, State

RECENT_RENDERS = 20
MOST_PLACES = 5000  # that are kept in mind; who waits farther behind is told the place after them
TICKET_PATIENCE = timedelta(seconds=10)  # A free worker takes a ticket within its poll, which is below a second.
DEFAULT_PACE = {"draft": 0.5, "infinitetalk": 40.0}  # Seconds of work for a second of output, until it is measured.
DEFAULT_OUTPUT_SECONDS = 10.0  # Of a render whose voice is not measured yet, until there are others to judge by.
PREPARE_SECONDS = 2.0
FINISH_SECONDS = 2.0  # to join and store what is rendered
PLACE = ["queue", "phase", "tenant_id", "engine", "num_frames", "progress"]  # all that is read of the renders around


@dataclass(frozen=True)
class Pace:
    """What the recent renders of an engine tell about the next one."""

    work_seconds: float  # for a second of output
    output_seconds: float


@dataclass(frozen=True)
class Place:
    """Where a queued render stands, with the work up to and including its own."""

    queue: str
    phase: str
    tenant_id: uuid.UUID
    rank: int
    work_until: float  # seconds
    delayed: bool
    max_concurrent: int | None  # None: not known yet
    order: tuple[Any, ...]  # within its queue

    def is_at_limit(self, running: int) -> bool:
        return self.max_concurrent is not None and running >= self.max_concurrent


@dataclass(frozen=True)
class Picture:
    seen_at: float
    paces: dict[str, Pace]  # by engine
    at_work: dict[str, list[float]]  # seconds left of each render that runs, by queue
    running_of_tenant: dict[uuid.UUID, int]
    abandoned: set[str]  # queues whose tickets nobody takes
    faulty: set[str]  # queues none of whose machines can work now
    places: dict[uuid.UUID, Place]

    def shows(self, render: Render) -> bool:
        place = self.places.get(render.pk)
        return place is not None and (place.queue, place.phase) == (render.queue, render.phase)

    def place_of_new(self, render: Render) -> Place:
        """Of one that came after it was taken: behind those that it shows ahead."""
        order = _order(render.phase, render.created_at, render.pk)
        others = [place for pk, place in self.places.items() if pk != render.pk]
        ahead = [place for place in others if place.queue == render.queue and place.order < order]
        last = max(ahead, key=lambda place: place.rank, default=None)
        limits = (place.max_concurrent for place in others if place.tenant_id == render.tenant_id)
        known = render.tenant.plan.max_concurrent if Render.tenant.is_cached(render) else None
        return Place(
            queue=render.queue,
            phase=render.phase,
            tenant_id=render.tenant_id,
            rank=last.rank + 1 if last else 1,
            work_until=(last.work_until if last else 0) + seconds_left(render, self.paces),
            delayed=render.not_before > timezone.now(),
            max_concurrent=next(limits, known),
            order=order,
        )


_picture: Picture | None = None
_looking = threading.Lock()


def look() -> Picture:
    """What all who ask within ESTIMATE_SECONDS are told from: clients poll, and to rank a queue takes its time."""
    global _picture
    with _looking:
        if _picture is None or _picture.seen_at + settings.ESTIMATE_SECONDS <= time.monotonic():
            _picture = _take_picture()
        return _picture


def _take_picture() -> Picture:
    paces = {engine: _recent_pace(engine) for engine in registry.names()}
    at_work: dict[str, list[float]] = defaultdict(list)
    running_of_tenant: dict[uuid.UUID, int] = defaultdict(int)
    for render in Render.objects.filter(state=State.RUNNING).only(*PLACE):
        at_work[render.queue].append(seconds_left(render, paces))
        running_of_tenant[render.tenant_id] += 1
    # Where something runs there are workers, just no free one.
    with_old_tickets, faulty = _queues_in_trouble()
    abandoned = with_old_tickets - at_work.keys()
    faulty -= at_work.keys()
    return Picture(time.monotonic(), paces, at_work, running_of_tenant, abandoned, faulty, _places(paces))


def _queues_in_trouble() -> tuple[set[str], set[str]]:
    """Those with tickets that nobody takes; and those whose living machines all have a fault. In one query."""
    old = OrmQ.objects.filter(lock__lte=Now() - TICKET_PATIENCE)
    tickets = old.order_by().values_list("key", Value(True)).distinct()
    all_faulty = nodes.alive().order_by().values("queue").annotate(fit=Count("pk", filter=Q(fault=""))).filter(fit=0)
    found = list(tickets.union(all_faulty.values_list("queue", Value(False)), all=True))
    return {queue for queue, of_ticket in found if of_ticket}, {queue for queue, of_ticket in found if not of_ticket}


def _order(phase: str, created_at: datetime, pk: uuid.UUID) -> tuple[Any, ...]:
    """As that of the next function, which is the database's."""
    return (phase not in FINISHING, created_at, pk)


def _places(paces: dict[str, Pace]) -> dict[uuid.UUID, Place]:
    """Of the first of all queues."""
    order = [
        Case(When(phase__in=FINISHING, then=0), default=1),
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
    shown = ("queue", "phase", "tenant_id", "rank", "work_until", "delayed", "max_concurrent")
    rows = ranked.order_by("rank").values("pk", "created_at", *shown)[:MOST_PLACES]
    return {
        row["pk"]: Place(
            **{name: row[name] for name in shown},
            order=_order(row["phase"], row["created_at"], row["pk"]),
        )
        for row in rows
    }


def _recent_pace(engine: str) -> Pace:
    # From the newest attempts back: the primary key is the only index that is needed.
    recent = Attempt.objects.filter(
        outcome=Attempt.Outcome.DONE, render__engine=engine, render__state=State.FINISHED
    ).order_by("-pk")
    # One that has gone on from an earlier render has the film of both, and its own work only.
    taken_over = Segment.objects.filter(render=OuterRef("pk"), index=0, attempt=0)
    renders = (
        Render.objects.filter(pk__in=recent.values("render")[:RECENT_RENDERS], duration_seconds__gt=0)
        .exclude(Exists(taken_over))
        .annotate(work_seconds=Sum("attempts__render_seconds"))
        .values_list("work_seconds", "duration_seconds")
    )
    work, output = [], []
    for work_seconds, output_seconds in renders:
        work.append(work_seconds or 0.0)
        output.append(output_seconds or 0.0)
    if not output:
        return Pace(DEFAULT_PACE.get(engine, 1.0), DEFAULT_OUTPUT_SECONDS)
    return Pace(sum(work) / sum(output), sum(output) / len(output))


def seconds_left(render: Render, paces: dict[str, Pace]) -> float:
    """Of the work that it will take in the queue where it is; `_places` says the same in SQL."""
    if render.phase in FINISHING:
        return FINISH_SECONDS
    if not is_foreseeable(render):
        return PREPARE_SECONDS
    pace = paces[render.engine]
    output = pace.output_seconds if render.num_frames is None else render.num_frames / FPS
    return output * pace.work_seconds * (1 - render.progress / 100)


def is_foreseeable(render: Render) -> bool:
    """Before it is in its engine's queue it is only prepared, and how long it will wait after that shows then."""
    if render.phase in FINISHING:
        return True
    return render.engine in registry.names() and render.queue == registry.queue_of(render.engine)
