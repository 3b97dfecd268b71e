"""django-q2's broker on our database, for processes that outlive an outage of it and whose clocks may be wrong."""

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Exists
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf

from render import nodes
from render.models import Node

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
LOOK_SECONDS = 5.0  # between two looks at this machine's disk
MAX_TICKETS = 1000  # of a queue


class PatientBroker(ORM):  # type: ignore[misc]
    """As published, the pusher and the monitor end with the first error of the database; as a cluster here ends with
    them, see `render.cluster_hardening`, a short outage would kill every render at work. These two wait instead.

    And a ticket is due by the database's clock: by a machine's own, one that is late would get none. A node that drains
    takes none: with it the ticket would be gone, and the others would wait for the next top-up. A node that has a fault
    of its own leaves them to the others, too. If there are none it takes them: what needs no disk is still done, as
    webhooks and the deletions that make room.
    """

    _looked_at = -LOOK_SECONDS
    _can_work = True

    def enqueue(self, task: str) -> Any:
        # Nobody takes them now. The reaper adds what is missing when somebody does again.
        if self.get_connection().filter(key=self.list_key)[:MAX_TICKETS].count() >= MAX_TICKETS:
            return None
        return self.get_connection().create(key=self.list_key, payload=task, lock=Now()).pk

    def dequeue(self) -> Any:
        try:
            self._look_after_node()
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
            draining = Exists(own.filter(draining=True))
            due = tickets.filter(~draining, key=self.list_key, lock__lte=Now())
            if not self._can_work:
                due = due.filter(~Exists(nodes.others_can_work(self.list_key)))
            ticket = due.order_by("lock").select_for_update(skip_locked=True, no_key=True).first()
            if ticket is not None:
                tickets.filter(pk=ticket.pk).update(lock=Now() + timedelta(seconds=Conf.RETRY))
        return ticket
