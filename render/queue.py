"""Tickets and whose turn it is.

A ticket on django-q2's broker carries no render id: a worker that is really free claims the best render then. So a
lost, doubled, late or reordered ticket does no harm.
"""

from collections.abc import Collection

from django.conf import settings
from django.db import connection
from django.db.models import Case, Count, F, FloatField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Cast, Coalesce, Now
from django_q.models import OrmQ
from django_q.tasks import async_task

from render.models import FINISHING, Node, Render, RunningRenders, State

MAX_READY_TICKETS = 50
_CLAIM_LOCK = 0x43524541  # Any number that nothing else on this database uses.


def add_ticket(queue: str) -> None:
    """Ring the doorbell of a queue. In a transaction the ticket appears with the commit, or not at all."""
    async_task("render.tasks.run_ticket", queue, cluster=queue, q_options={"task_name": f"ticket-{queue}"})


def top_up(queue: str) -> int:
    """Make sure that the claimable renders have tickets; return how many were added."""
    waiting = claimable(queue).count()
    ready = OrmQ.objects.filter(key=queue, lock__lte=Now()).count()
    missing: int = max(min(waiting, MAX_READY_TICKETS) - ready, 0)
    for _ in range(missing):
        add_ticket(queue)
    return missing


def claimable(queue: str) -> QuerySet[Render]:
    """The renders that a free worker of the queue may take now, the fairest choice first.

    What is rendered and needs only to be assembled goes before all. Then fair between tenants by what each has running
    for its weight, then by priority; then the tenant whose latest turn is longest ago, so that a single free worker
    goes round, too; then by age. The plan's limit is the only hard cap: a tenant alone gets all the nodes up to it.
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
            "-priority",
            F("latest_turn").asc(nulls_first=True),
            "created_at",
            "id",
        )
    )


def has_waiting(queue: str) -> bool:
    return Render.objects.filter(queue=queue, state=State.QUEUED).exists()


def lock_next(queue: str, node: Node, *, without_engines: Collection[str] = ()) -> Render | None:
    """The render that this node is to claim, locked. To be called in the claiming transaction.

    Of a tenant's renders whose sources are not prepared yet, a node takes no more than leave one of its workers free
    for others: until then nobody knows how slow the source's server is, or how long its files take to decode.
    """
    with connection.cursor() as cursor:
        # One claim at a time, else two workers could both see room below a tenant's limit.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])
    preparing = Render.objects.filter(node=node, state=State.RUNNING, sources__isnull=True, tenant=OuterRef("tenant"))
    number = preparing.order_by().values("tenant").annotate(number=Count("*")).values("number")
    has_room = Q(sources__isnull=False) | Q(preparing__lt=max(settings.CPU_WORKERS - 1, 1))
    renders = (
        claimable(queue)
        .annotate(preparing=Coalesce(Subquery(number), 0))
        .filter(has_room)
        .exclude(engine__in=without_engines)
    )
    return renders.select_for_update(of=("self",), skip_locked=True, no_key=True).first()
