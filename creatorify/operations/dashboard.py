"""What waits, what runs and on which nodes, at this moment: a page of the admin."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render as render_page
from django_q.models import OrmQ

from creatorify.operations import invariants
from render.estimates.completion import estimate
from render.models import Node, Render, State
from render.queue.tickets import CHORE_MARK

LOOKED_AT = 500  # of the waiting renders, the oldest: why they wait


@dataclass(frozen=True)
class QueueDepth:
    name: str
    waiting: int
    running: int
    tickets: int
    waits_since: datetime | None
    reasons: list[tuple[str, int]]


def queue_depths() -> list[QueueDepth]:
    """The same number of queries however much waits."""
    by_queue = (
        Render.objects.filter(state__in=[State.QUEUED, State.RUNNING])
        .order_by()
        .values("queue")
        .annotate(
            waiting=Count("pk", filter=Q(state=State.QUEUED)),
            running=Count("pk", filter=Q(state=State.RUNNING)),
            since=Min("created_at", filter=Q(state=State.QUEUED)),
        )
    )
    depths: dict[str, Any] = {row["queue"]: row for row in by_queue}
    of_renders = OrmQ.objects.exclude(key__contains=CHORE_MARK)
    tickets = dict(of_renders.order_by().values_list("key").annotate(Count("pk")))
    waiting = list(Render.objects.filter(state=State.QUEUED).order_by("created_at")[:LOOKED_AT])
    estimates = estimate(waiting)
    reasons: dict[str, Counter[str]] = {}
    for render in waiting:
        reason = estimates[render.pk].waiting_reason
        reasons.setdefault(render.queue, Counter())[str(reason)] += 1
    nothing = {"waiting": 0, "running": 0, "since": None}
    names = sorted({*depths, *tickets, *Node.objects.values_list("queue", flat=True)})
    return [
        QueueDepth(
            name,
            depths.get(name, nothing)["waiting"],
            depths.get(name, nothing)["running"],
            tickets.get(name, 0),
            depths.get(name, nothing)["since"],
            reasons.get(name, Counter()).most_common(),
        )
        for name in names
    ]


def operations_view(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("render.view_render"):
        raise PermissionDenied
    running = Render.objects.filter(state=State.RUNNING, node__isnull=False).select_related("tenant").order_by("pk")
    at_work: dict[int | None, list[Render]] = {}
    for render in running:
        at_work.setdefault(render.node_id, []).append(render)
    context = {
        **admin.site.each_context(request),
        "title": "Operations",
        "depths": queue_depths(),
        "nodes": [(node, at_work.get(node.pk, [])) for node in Node.objects.order_by("queue", "name")],
    }
    return render_page(request, "admin/operations.html", context)


def invariants_view(request: HttpRequest) -> HttpResponse:
    """What must hold at every moment, checked now."""
    if not request.user.has_perm("render.view_render"):
        raise PermissionDenied
    findings = {finding.invariant.name: finding for finding in invariants.check()}
    context = {
        **admin.site.each_context(request),
        "title": "Invariants",
        "rows": [(invariant, findings.get(invariant.name)) for invariant in invariants.INVARIANTS],
    }
    return render_page(request, "admin/invariants.html", context)
