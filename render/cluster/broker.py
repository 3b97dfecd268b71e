"""django-q2's broker on our database, for processes that outlive an outage of it and whose clocks may be wrong."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Exists
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from render.machine import nodes
from render.models import Node
from render.queue.tickets import CHORE_MARK, RUN_TICKET

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
FULL_PAUSE_SECONDS = 0.01  # Until it is looked again whether a worker has taken the ticket before.
LOOK_SECONDS = 5.0  # between two looks at this machine's disk
MAX_TICKETS = 1000  # for renders, of a queue
CHORE_SECONDS = 600  # After which a chore counts as done: its end may have come while the database was away.


# Counts and adds in one statement, which each new render costs.
_ADD_UNLESS_FULL = f"""
INSERT INTO {OrmQ._meta.db_table} (key, payload, lock)
SELECT %s, %s, statement_timestamp()
WHERE (SELECT count(*) FROM (SELECT 1 FROM {OrmQ._meta.db_table} WHERE key = %s LIMIT %s) AS tickets) < %s
RETURNING id
"""


class PatientBroker(ORM):  # type: ignore[misc]
    """As published, the pusher and the monitor end with the first error of the database; as a cluster here ends with
    them, see `render.cluster.hardening`, a short outage would kill every render at work. These two wait instead.

    And a ticket is due by the database's clock: by a machine's own, one that is late would get none. A node that drains
    takes none: with it the ticket would be gone, and the others would wait for the next top-up. A node that has a fault
    of its own leaves them to the others, too. If there are none it takes them: what needs no disk is still done, as
    webhooks and the deletions that make room.

    A ticket that is of no render is of a chore, such as to check uploads. Whoever takes it does what is due, so one of
    each chore is enough, however often it is rung for. Its key is the queue's name, CHORE_MARK, and the chore. On each
    node, renders and chores take turns; and while one worker does a chore, the others go to renders first.
    """

    is_full: Callable[[], bool] = staticmethod(lambda: False)  # Whether a ticket that was taken waits for a worker.
    _looked_at = -LOOK_SECONDS
    _can_work = True
    _chore_was_last = False
    _chores: frozenset[int] = frozenset()  # The tickets of chores that this node has taken and not done, as last seen.

    def enqueue(self, task: str) -> Any:
        chore = SignedPackage.loads(task)["func"]
        tickets = self.get_connection()
        if chore == RUN_TICKET:
            # Nobody takes them now. The reaper adds what is missing when somebody does again.
            return _add_unless_full(self.list_key, task)
        key = f"{self.list_key}{CHORE_MARK}{chore}"
        with transaction.atomic(savepoint=False):
            # One that waits already is enough, if nobody takes it before our commit, whose changes he would not see:
            # so it is locked until then. Nobody waits for that lock: who finds it locked takes, or adds, another one.
            waiting = tickets.filter(key=key, lock__lte=Now()).select_for_update(skip_locked=True, no_key=True).first()
            return (waiting or tickets.create(key=key, payload=task, lock=Now())).pk

    def dequeue(self) -> Any:
        try:
            self._look_after_node()
            if self.is_full():
                time.sleep(FULL_PAUSE_SECONDS)
                return None
            ticket = self._take()
        except Error as error:
            logger.warning("No tickets, the database is away: %s", error)
            connection.close()
            time.sleep(PAUSE_SECONDS)
            return None
        if ticket is None:
            time.sleep(Conf.POLL)
            return None
        return [(ticket.pk, ticket.payload)]

    def acknowledge(self, task_id: int) -> Any:
        try:
            return super().acknowledge(task_id)
        except Error as error:
            # It is only a ticket: it comes once more, hours later, and finds nothing to do.
            logger.warning("Ticket %s is left, the database is away: %s", task_id, error)
            connection.close()
            return None

    def _look_after_node(self) -> None:
        if time.monotonic() > self._looked_at + LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._can_work = nodes.can_work(nodes.beat(self.list_key))

    def _take(self) -> Any:
        tickets = self.get_connection()
        own = Node.objects.filter(name=settings.NODE_NAME, queue=self.list_key)
        with transaction.atomic():
            due = tickets.filter(~Exists(own.filter(draining=True)), lock__lte=Now())
            if not self._can_work:
                due = due.filter(~Exists(nodes.others_can_work(self.list_key)))
            kinds = [due.filter(key__startswith=f"{self.list_key}{CHORE_MARK}"), due.filter(key=self.list_key)]
            lately = Now() + timedelta(seconds=Conf.RETRY - CHORE_SECONDS)
            at_work = tickets.filter(pk__in=self._chores, lock__gt=lately)
            chores = frozenset(at_work.values_list("pk", flat=True))
            if chores or self._chore_was_last:
                kinds.reverse()
            firsts = (kind.order_by("lock").select_for_update(skip_locked=True, no_key=True).first() for kind in kinds)
            ticket = next(filter(None, firsts), None)
            if ticket is not None:
                tickets.filter(pk=ticket.pk).update(lock=Now() + timedelta(seconds=Conf.RETRY))
        if ticket is not None:
            self._chore_was_last = ticket.key != self.list_key
            self._chores = chores | {ticket.pk} if self._chore_was_last else chores
        return ticket


def _add_unless_full(key: str, payload: str) -> int | None:
    """Add a ticket for a render; return its id, or None when MAX_TICKETS of the queue wait already."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD_UNLESS_FULL, [key, payload, key, MAX_TICKETS, MAX_TICKETS])
        row = cursor.fetchone()
    return row[0] if row else None
