"""The queues as they stand, read at most once in ESTIMATE_SECONDS: the basis of `render.estimates.completion`.

The order that estimates assume within a queue is `assumed_order`: what is rendered and only has to be finished comes
first, then the oldest. Claims follow another order, `render.queue.selection.claimable`: they are also fair between
tenants, by what each has running at that moment, and they pass over renders that wait for a retry or are at their
tenant's limit. What will be running then is not known now, so a render may start sooner or later than its place says.
"""

import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db.models import Count, Exists, ExpressionWrapper, F, OuterRef, Q, Sum, Value
from django.db.models.fields import BooleanField
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ

from render.engines import registry
from render.engines.base import FPS
from render.machine import nodes
from render.models import FINISHING, Attempt, Render, Segment, State

RECENT_RENDERS = 20
MOST_PLACES = 5000  # Queued renders in a snapshot; those behind them get the place after the last one.
TICKET_PATIENCE = timedelta(seconds=10)  # A free worker takes a ticket within its poll, which is below a second.
DEFAULT_PACE = {"draft": 0.5, "infinitetalk": 40.0}  # Seconds of work for a second of output, until it is measured.
DEFAULT_OUTPUT_SECONDS = 10.0  # Of a render whose voice is not measured yet, until there are others to judge by.
PREPARE_SECONDS = 2.0
FINISH_SECONDS = 2.0  # To join and store what is rendered.
TRANSPARENT_PACE = 3.0  # Seconds of work for a second of a transparent video, which is made last.
# For a render after one of another variant of the model, whose weights a GPU node has to load: 30 GB from a disk.
WEIGHTS_SECONDS = 40.0
# Read of each render.
COLUMNS = ["queue", "phase", "tenant_id", "engine", "variant", "num_frames", "frame", "progress", "created_at"]


@dataclass(frozen=True)
class Pace:
    """Where an engine renders, and how fast it is by its recent renders."""

    queue: str  # In which it renders; empty when the engine is not installed any more.
    work_seconds: float  # For a second of output.
    output_seconds: float  # Of an average render.


class Paces(dict[str, Pace]):
    """The pace of each engine, read when it is first needed: an engine without renders costs no statement."""

    def __missing__(self, engine: str) -> Pace:
        self[engine] = pace = _recent_pace(engine)
        return pace


@dataclass(frozen=True)
class Place:
    """Where a queued render stands."""

    queue: str
    phase: str
    tenant_id: uuid.UUID
    rank: int  # 1: the next one of its queue.
    work_until: float  # Seconds of work in its queue up to and including its own.
    delayed: bool  # It waits for the time of its next try.
    max_concurrent: int | None  # Of its tenant; None: not known yet.
    variant: str  # Of the model.
    order: tuple[Any, ...]  # Of `assumed_order`.

    def is_at_limit(self, running: int) -> bool:
        """Whether no more renders of the tenant may run. running: those that do."""
        return self.max_concurrent is not None and running >= self.max_concurrent


@dataclass(frozen=True)
class QueueSnapshot:
    """All queues at one moment. Renders that came or moved on later are placed behind those ahead of them."""

    read_at: float  # By `time.monotonic`.
    paces: Paces
    at_work: dict[str, list[float]]  # Seconds left of each running render, by queue.
    variant_at_work: dict[str, str]  # Of one of the running renders, by queue.
    running_of_tenant: dict[uuid.UUID, int]
    abandoned: set[str]  # Queues whose tickets no worker takes.
    faulty: set[str]  # Queues none of whose nodes can work now.
    places: dict[uuid.UUID, Place]  # By the render's id.

    def includes(self, render: Render) -> bool:
        """Whether the render is in the snapshot, in the queue and the phase that it is in now."""
        place = self.places.get(render.pk)
        return place is not None and (place.queue, place.phase) == (render.queue, render.phase)

    def place_of(self, render: Render) -> Place:
        """Of a queued render, also of one that came after the snapshot was read."""
        return self.places[render.pk] if self.includes(render) else self._place_of_new(render)

    def _place_of_new(self, render: Render) -> Place:
        order = assumed_order(render)
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
            work_until=(last.work_until if last else 0)
            + seconds_left(render, self.paces)
            + _weights_seconds(last.variant if last else self.variant_at_work.get(render.queue, ""), render.variant),
            delayed=render.not_before > timezone.now(),
            max_concurrent=next(limits, known),
            variant=render.variant,
            order=order,
        )


_snapshot: QueueSnapshot | None = None
_reading = threading.Lock()


def current() -> QueueSnapshot:
    """The snapshot that all callers of ESTIMATE_SECONDS share: clients poll, and to read a long queue takes a while."""
    global _snapshot
    with _reading:
        if _snapshot is None or _snapshot.read_at + settings.ESTIMATE_SECONDS <= time.monotonic():
            _snapshot = _read()
        return _snapshot


def assumed_order(render: Render) -> tuple[bool, datetime, uuid.UUID]:
    """The key by which a queue is sorted, smallest first; why claims differ stands at the top of this module."""
    return (render.phase not in FINISHING, render.created_at, render.pk)


def seconds_left(render: Render, paces: Paces) -> float:
    """Seconds of work that the render will still take in the queue where it is."""
    if render.phase in FINISHING:
        return FINISH_SECONDS + _seconds_of_transparent(render, (render.num_frames or 0) / FPS)
    if not is_foreseeable(render, paces):
        return PREPARE_SECONDS
    pace = paces[render.engine]
    output = pace.output_seconds if render.num_frames is None else render.num_frames / FPS
    return output * pace.work_seconds * (1 - render.progress / 100) + _seconds_of_transparent(render, output)


def _seconds_of_transparent(render: Render, output_seconds: float) -> float:
    is_made = (render.frame or {}).get("transparent", False)
    return TRANSPARENT_PACE * output_seconds if is_made else 0.0


def is_foreseeable(render: Render, paces: Paces) -> bool:
    """Whether the end can be estimated: in any other queue than its engine's, the render is only being prepared."""
    if render.phase in FINISHING:
        return True
    return render.queue == paces[render.engine].queue


def _read() -> QueueSnapshot:
    paces = Paces()
    at_work: dict[str, list[float]] = defaultdict(list)
    running_of_tenant: dict[uuid.UUID, int] = defaultdict(int)
    variant_at_work: dict[str, str] = {}
    for render in Render.objects.filter(state=State.RUNNING).only(*COLUMNS):
        at_work[render.queue].append(seconds_left(render, paces))
        running_of_tenant[render.tenant_id] += 1
        variant_at_work[render.queue] = render.variant
    with_old_tickets, faulty = _queues_in_trouble()
    # A queue in which something runs has workers, only no free one.
    abandoned = with_old_tickets - at_work.keys()
    faulty -= at_work.keys()
    places = _places(paces, variant_at_work)
    return QueueSnapshot(
        time.monotonic(), paces, at_work, variant_at_work, running_of_tenant, abandoned, faulty, places
    )


def _queues_in_trouble() -> tuple[set[str], set[str]]:
    """Queues with tickets that no worker takes, and queues whose living nodes all have a fault; one statement."""
    old = OrmQ.objects.filter(lock__lte=Now() - TICKET_PATIENCE)
    tickets = old.order_by().values_list("key", Value(True)).distinct()
    all_faulty = nodes.alive().order_by().values("queue").annotate(fit=Count("pk", filter=Q(fault=""))).filter(fit=0)
    rows = list(tickets.union(all_faulty.values_list("queue", Value(False)), all=True))
    return {queue for queue, of_ticket in rows if of_ticket}, {queue for queue, of_ticket in rows if not of_ticket}


def _weights_seconds(before: str, variant: str) -> float:
    """What it takes to load the weights of a variant after those of another one; empty: it is not known."""
    return WEIGHTS_SECONDS if before and variant and before != variant else 0.0


def _places(paces: Paces, variant_at_work: dict[str, str]) -> dict[uuid.UUID, Place]:
    renders: Any = Render.objects.filter(state=State.QUEUED).annotate(
        delayed=ExpressionWrapper(Q(not_before__gt=Now()), output_field=BooleanField()),
        max_concurrent=F("tenant__plan__max_concurrent"),
    )
    # Rows, not models: to make thousands of those takes three times as long.
    rows = renders.order_by("created_at").values_list("pk", *COLUMNS, "delayed", "max_concurrent", named=True)
    queued = sorted(rows[:MOST_PLACES], key=lambda render: (render.queue, assumed_order(render)))
    places = {}
    for queue, of_queue in groupby(queued, key=lambda render: render.queue):
        work, before = 0.0, variant_at_work.get(queue, "")
        for rank, render in enumerate(of_queue, start=1):
            work += seconds_left(render, paces) + _weights_seconds(before, render.variant)
            before = render.variant or before
            places[render.pk] = Place(
                queue=queue,
                phase=render.phase,
                tenant_id=render.tenant_id,
                rank=rank,
                work_until=work,
                delayed=render.delayed,
                max_concurrent=render.max_concurrent,
                variant=render.variant,
                order=assumed_order(render),
            )
    return places


def _recent_pace(engine: str) -> Pace:
    # From the newest attempts back: this needs no index but the primary key.
    recent = Attempt.objects.filter(
        outcome=Attempt.Outcome.DONE, render__engine=engine, render__state=State.FINISHED
    ).order_by("-pk")
    # A render that went on from an earlier one has the output of both, but only its own work.
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
    queue = registry.queue_of(engine) if engine in registry.names() else ""
    if not output:
        return Pace(queue, DEFAULT_PACE.get(engine, 1.0), DEFAULT_OUTPUT_SECONDS)
    return Pace(queue, sum(work) / sum(output), sum(output) / len(output))
