"""Tickets and whose turn it is.

A ticket on django-q2's broker carries no render id: a worker that is really free claims the best render then. So a
lost, doubled, late or reordered ticket does no harm.
"""

from collections.abc import Callable, Collection
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, Count, F, FloatField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Now
from django_q.models import OrmQ
from django_q.tasks import async_task

from render.models import FINISHING, Node, Render, RunningRenders, State

RUN_TICKET = "render.tasks.run_ticket"  # All other tickets are of chores, see `render.cluster.broker`.
CHORE_MARK = ":"  # In the key of such a ticket, behind the name of the queue.
MAX_READY_TICKETS = 50
_CLAIM_LOCK = 0x43524541  # Any number that nothing else on this database uses.

# Name of a queue -> what, beside renders, holds a worker of one of its nodes for a tenant: rows that have a `tenant`.
also_held: dict[str, Callable[[Node], QuerySet[Any]]] = {}


def add_ticket(queue: str) -> None:
    """Ring the doorbell of a queue. In a transaction the ticket appears with the commit, or not at all."""
    async_task(RUN_TICKET, queue, cluster=queue, q_options={"task_name": f"ticket-{queue}"})


def top_up(queue: str) -> int:
    """Make sure that the claimable renders have tickets; return how many were added."""
    waiting = claimable(queue).order_by()[:MAX_READY_TICKETS].count()
    ready = OrmQ.objects.filter(key=queue, lock__lte=Now())[:MAX_READY_TICKETS].count()
    missing: int = max(waiting - ready, 0)
    for _ in range(missing):
        add_ticket(queue)
    return missing


def claimable(queue: str) -> QuerySet[Render]:
    """The renders that a free worker of the queue may take now, the fairest choice first.

    What is rendered and needs only to be assembled goes before all. Then fair between tenants by what each has running
    for its weight; then the tenant whose latest turn is longest ago, so that a single free worker goes round, too; then
    by age. The plan's limit is the only hard cap: a tenant alone gets all the nodes up to it.
    """
    rendered = Q(phase__in=FINISHING)
    running = RunningRenders.objects.filter(tenant=OuterRef("tenant")).values("number")
    started = Render.objects.filter(tenant=OuterRef("tenant"), started_at__isnull=False).order_by("-started_at")
    return (
        Render.objects.filter(queue=queue, state=State.QUEUED, not_before__lte=Now(), cancel_requested_at=None)
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
    """Renders that a node would have to load one of these variants for."""
    return Q(variant__in=list(names)) & ~Q(phase__in=FINISHING)


def has_waiting(queue: str) -> bool:
    return Render.objects.filter(queue=queue, state=State.QUEUED).exists()


def lock_next(queue: str, node: Node, *, without_engines: Collection[str] = ()) -> Render | None:
    """The render that this node is to claim, locked. To be called in the claiming transaction.

    One whose sources are not prepared yet only where the node has room for its tenant, see `workers_held`; none for
    which the node's model lacks files.
    """
    lock_claims()
    renders = (
        claimable(queue)
        .annotate(held=workers_held(node, OuterRef("tenant")))
        .filter(Q(sources__isnull=False) | Q(held__lt=most_held()))
        .exclude(engine__in=without_engines)
    )
    if node.unloadable:
        renders = renders.exclude(wants_variant(node.unloadable))
    return renders.select_for_update(of=("self",), skip_locked=True, no_key=True).first()


def lock_claims() -> None:
    """One claim at a time until the transaction ends, else two workers could both see room below a tenant's limit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])


def workers_held(node: Node, tenant: OuterRef) -> Combinable:
    """How many workers of the node prepare renders for a tenant, or do other such work with its files.

    Nobody knows yet how slow the files' server is, or how long they take to decode, so they hold at most `most_held`.
    """
    held: Combinable = _number_of(tenant, Render.objects.filter(node=node, state=State.RUNNING, sources__isnull=True))
    if node.queue in also_held:
        held = held + _number_of(tenant, also_held[node.queue](node))
    return held


def most_held() -> int:
    """Of a node's workers, one is left free for other tenants, if there are several."""
    most: int = max(settings.CPU_WORKERS - 1, 1)
    return most


def _number_of(tenant: OuterRef, rows: QuerySet[Any]) -> Coalesce:
    numbers = rows.filter(tenant=tenant).order_by().values("tenant").annotate(number=Count("*")).values("number")
    return Coalesce(Subquery(numbers), 0)
