"""Tickets on django-q2's broker, which wake workers.

A ticket carries no id of a render: a worker that is free claims the render whose turn it is then, see
`render.queue.selection`. So a lost, doubled, late or reordered ticket does no harm.
"""

from django.db.models.functions import Now
from django_q.models import OrmQ
from django_q.tasks import async_task

from render.models import Render, State
from render.queue.selection import claimable

RUN_TICKET = "render.tasks.run_ticket"  # All other tickets are for chores, see `render.cluster.broker`.
CHORE_MARK = ":"  # In the key of a chore's ticket, between the name of the queue and that of the chore.
MAX_READY_TICKETS = 50  # A top-up makes no more of them.


def add_ticket(queue: str) -> None:
    """Wake a worker of the queue. In a transaction the ticket appears with the commit, or not at all."""
    async_task(RUN_TICKET, queue, cluster=queue, q_options={"task_name": f"ticket-{queue}"})


def top_up(queue: str) -> int:
    """Make sure that the claimable renders have tickets; return how many tickets were added."""
    waiting = claimable(queue).order_by()[:MAX_READY_TICKETS].count()
    ready = OrmQ.objects.filter(key=queue, lock__lte=Now())[:MAX_READY_TICKETS].count()
    missing: int = max(waiting - ready, 0)
    for _ in range(missing):
        add_ticket(queue)
    return missing


def has_waiting(queue: str) -> bool:
    """Whether a render waits in the queue, claimable or not."""
    return Render.objects.filter(queue=queue, state=State.QUEUED).exists()
