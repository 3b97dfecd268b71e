"""django-q2's broker on our database. It survives an outage of the database and does not rely on machines' clocks."""

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
from django_q.signing import SignedPackage

from render.machine import nodes
from render.models import Node
from render.queue.tickets import CHORE_MARK

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
FULL_PAUSE_SECONDS = 0.01  # between two checks whether a worker has taken the previous ticket
NODE_CHECK_SECONDS = 5.0  # between two checks of this machine's disk
CHORE_SECONDS = 600  # After so long a chore counts as done: its end may have been lost in an outage of the database.


class PatientBroker(ORM):  # type: ignore[misc]
    """django-q2's broker with four changes.

    1. An error of the database makes the pusher and the monitor wait. In django-q2 they end with the first one, and
       here the cluster ends with them (`render.cluster.hardening`): a short outage would kill every running render.
    2. A ticket is due by the database's clock. By a machine's own clock, a machine that is late would get no tickets.
    3. A node that drains takes no tickets: its tickets would be lost until the next top-up. Nor does a node with a
       fault, unless all nodes have one: some work needs no disk, such as webhooks, and deletions make room.
    4. A ticket that is not for a render is for a chore, such as the check of uploads. The worker that takes it does
       everything that is due, so one ticket for each chore is enough. Its key is the queue's name, CHORE_MARK and the
       name of the chore. On each node renders and chores take turns; while one worker does a chore, the others prefer
       renders.
    """

    is_full: Callable[[], bool] = staticmethod(lambda: False)  # Whether a ticket waits for a worker.
    _node_checked_at = -NODE_CHECK_SECONDS
    _can_work = True
    _chore_was_last = False
    _chores: frozenset[int] = frozenset()  # Tickets of chores that this node had not done at its last look at them.

    def enqueue(self, task: str) -> Any:
        """Add the ticket of a chore. Those for renders: `render.queue.tickets.add_ticket`."""
        tickets = self.get_connection()
        key = f"{self.list_key}{CHORE_MARK}{SignedPackage.loads(task)['func']}"
        with transaction.atomic(savepoint=False):
            # A waiting ticket is enough, unless a worker takes it before this transaction commits and so does not see
            # its changes: hence the ticket is locked until the commit. No process waits for the lock: one that finds
            # the ticket locked takes, or adds, another one.
            waiting = tickets.filter(key=key, lock__lte=Now()).select_for_update(skip_locked=True, no_key=True).first()
            return (waiting or tickets.create(key=key, payload=task, lock=Now())).pk

    def dequeue(self) -> Any:
        try:
            self._check_node()
            if self.is_full():
                time.sleep(FULL_PAUSE_SECONDS)
                return None
            ticket = self._take()
        except Error as error:
            logger.warning("No tickets, the database is unavailable: %s", error)
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
            # Harmless: the ticket is delivered again hours later, and its worker finds nothing to do.
            logger.warning("Ticket %s stays, the database is unavailable: %s", task_id, error)
            connection.close()
            return None

    def _check_node(self) -> None:
        if time.monotonic() > self._node_checked_at + NODE_CHECK_SECONDS:
            self._node_checked_at = time.monotonic()
            self._can_work = nodes.can_work(nodes.heartbeat(self.list_key))

    def _take(self) -> Any:
        """Lock and return the next due ticket that this node may take; None if there is none."""
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
