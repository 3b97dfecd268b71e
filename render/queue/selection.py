"""Which render a free worker claims, and how many workers of a node one tenant may use.

What estimates assume about this order, and why they may differ: `render.estimates.queue_snapshot`.
"""

from collections.abc import Callable, Collection
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, Count, F, FloatField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Now

from render import deadlines
from render.models import FINISHING, Node, Render, RunningRenders, State

_CLAIM_LOCK = 0x43524541  # Any number that nothing else on this database uses.

# By the name of a queue: rows with a `tenant`, one for each worker of a node that does other work than renders for it.
other_work: dict[str, Callable[[Node], QuerySet[Any]]] = {}


def claimable(queue: str) -> QuerySet[Render]:
    """The renders that a free worker of the queue may take now, in the order in which they are taken.

    First come those that are rendered and only have to be assembled. Then renders of the tenant that has the fewest
    running for its weight; of two such tenants, the one whose latest turn is longest ago, so that a single free worker
    serves all in turn; then the oldest. A tenant alone gets all nodes, up to its plan's limit; `lock_next` adds what a
    single node limits.
    """
    rendered = Q(phase__in=FINISHING)
    running = RunningRenders.objects.filter(tenant=OuterRef("tenant")).values("number")
    started = Render.objects.filter(tenant=OuterRef("tenant"), started_at__isnull=False).order_by("-started_at")
    return (
        Render.objects.filter(queue=queue, state=State.QUEUED, not_before__lte=Now(), cancel_requested_at=None)
        .exclude(deadlines.MISSED)
        .annotate(tenant_running=Coalesce(Subquery(running), 0), latest_turn=Subquery(started.values("started_at")[:1]))
        .filter(rendered | Q(tenant_running__lt=F("tenant__plan__max_concurrent")))
        .order_by(
            Case(When(rendered, then=0), default=1),
            Cast("tenant_running", FloatField()) / F("tenant__plan__weight"),
            F("latest_turn").asc(nulls_first=True),
            "created_at",
            "id",
        )
    )


def wants_variant(names: Collection[str]) -> Q:
    """Renders for which a node would have to load one of these variants of the model."""
    return Q(variant__in=list(names)) & ~Q(phase__in=FINISHING)


def lock_next(queue: str, node: Node, *, without_engines: Collection[str] = ()) -> Render | None:
    """The render that this node is to claim, locked. To be called in the transaction that claims it.

    A render whose sources are not prepared yet is chosen only while its tenant uses fewer than `most_workers` of the
    node; one for which the node's model lacks files is not chosen at all.
    """
    lock_claims()
    renders = (
        claimable(queue)
        .annotate(used=workers_used(node, OuterRef("tenant")))
        .filter(Q(sources__isnull=False) | Q(used__lt=most_workers()))
        .exclude(engine__in=without_engines)
    )
    if node.unloadable:
        renders = renders.exclude(wants_variant(node.unloadable))
    return renders.select_for_update(of=("self",), skip_locked=True, no_key=True).first()


def lock_claims() -> None:
    """Let one transaction claim at a time: otherwise two could both see room below a tenant's limit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])


def workers_used(node: Node, tenant: OuterRef) -> Combinable:
    """The number of the node's workers that prepare renders for a tenant, or do other work with its files.

    How long that takes is not known beforehand: the files' server may be slow, and decoding may be. So a tenant uses
    at most `most_workers`.
    """
    used: Combinable = _number_of(tenant, Render.objects.filter(node=node, state=State.RUNNING, sources__isnull=True))
    if node.queue in other_work:
        used = used + _number_of(tenant, other_work[node.queue](node))
    return used


def most_workers() -> int:
    """The most workers of a node that one tenant may use: all but one, if there are several."""
    most: int = max(settings.CPU_WORKERS - 1, 1)
    return most


def _number_of(tenant: OuterRef, rows: QuerySet[Any]) -> Coalesce:
    numbers = rows.filter(tenant=tenant).order_by().values("tenant").annotate(number=Count("*")).values("number")
    return Coalesce(Subquery(numbers), 0)
