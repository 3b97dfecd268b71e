"""Two pages of the admin: the queues and nodes at this moment, and the invariants."""

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

OLDEST_RENDERS = 500  # Only of so many waiting renders the reasons are counted.


@dataclass(frozen=True)
class QueueDepth:
    name: str
    waiting: int
    running: int
    tickets: int
    waits_since: datetime | None  # the oldest waiting render
    reasons: list[tuple[str, int]]  # why renders wait, with the number of renders


def queue_depths() -> list[QueueDepth]:
    """All queues that have renders, tickets or nodes. The number of queries does not depend on that of renders."""
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
    waiting = list(Render.objects.filter(state=State.QUEUED).order_by("created_at")[:OLDEST_RENDERS])
    estimates = estimate(waiting)
    reasons: dict[str, Counter[str]] = {}
    for render in waiting:
        reason = estimates[render.pk].waiting_reason
        reasons.setdefault(render.queue, Counter())[str(reason)] += 1
    none = {"waiting": 0, "running": 0, "since": None}
    names = sorted({*depths, *tickets, *Node.objects.values_list("queue", flat=True)})
    return [
        QueueDepth(
            name=name,
            waiting=depths.get(name, none)["waiting"],
            running=depths.get(name, none)["running"],
            tickets=tickets.get(name, 0),
            waits_since=depths.get(name, none)["since"],
            reasons=reasons.get(name, Counter()).most_common(),
        )
        for name in names
    ]


def operations_view(request: HttpRequest) -> HttpResponse:
    _require_permission(request)
    running = Render.objects.filter(state=State.RUNNING, node__isnull=False).select_related("tenant").order_by("pk")
    renders_of: dict[int | None, list[Render]] = {}
    for render in running:
        renders_of.setdefault(render.node_id, []).append(render)
    context = {
        **admin.site.each_context(request),
        "title": "Operations",
        "depths": queue_depths(),
        "nodes": [(node, renders_of.get(node.pk, [])) for node in Node.objects.order_by("queue", "name")],
    }
    return render_page(request, "admin/operations.html", context)


def invariants_view(request: HttpRequest) -> HttpResponse:
    """Checks all invariants now."""
    _require_permission(request)
    findings = {finding.invariant.name: finding for finding in invariants.check()}
    context = {
        **admin.site.each_context(request),
        "title": "Invariants",
        "rows": [(invariant, findings.get(invariant.name)) for invariant in invariants.INVARIANTS],
    }
    return render_page(request, "admin/invariants.html", context)


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("render.view_render"):
        raise PermissionDenied
