"""Tickets on django-q2's broker, which wake workers.

A ticket carries no id of a render: a worker that is free claims the render whose turn it is then, see
`render.queue.selection`. So a lost, doubled, late or reordered ticket does no harm.
"""

import uuid

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from render.models import Render, State
from render.queue.selection import claimable

RUN_TICKET = "render.tasks.run_ticket"  # All other tickets are for chores, see `render.cluster.broker`.
CHORE_MARK = ":"  # In the key of a chore's ticket, between the name of the queue and that of the chore.
MAX_TICKETS = 1000  # for renders, in one queue
MAX_READY_TICKETS = 50  # A top-up makes no more of them.

# Counts and adds in one statement, which each new render costs.
_ADD_UNLESS_FULL = f"""
INSERT INTO {OrmQ._meta.db_table} (key, payload, lock)
SELECT %s, %s, statement_timestamp()
WHERE (SELECT count(*) FROM (SELECT 1 FROM {OrmQ._meta.db_table} WHERE key = %s LIMIT %s) AS tickets) < %s
"""


def add_ticket(queue: str) -> None:
    """Wake a worker of the queue. In a transaction the ticket appears with the commit, or not at all.

    No ticket is added when MAX_TICKETS wait: no node takes tickets then. When one does again, the reaper adds what is
    missing. The payload is what `django_q.tasks.async_task` makes of a task.
    """
    task = {
        "id": uuid.uuid4().hex,
        "name": f"ticket-{queue}",
        "func": RUN_TICKET,
        "args": (queue,),
        "kwargs": {},
        "cluster": queue,
        "ack_failure": True,
        "started": timezone.now(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD_UNLESS_FULL, [queue, SignedPackage.dumps(task), queue, MAX_TICKETS, MAX_TICKETS])


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
