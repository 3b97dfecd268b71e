"""django-q2's broker on our database, for processes that must outlive an outage of it."""

import logging
import time
from typing import Any

from django.db import Error, connection
from django_q.brokers.orm import ORM

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5


class PatientBroker(ORM):  # type: ignore[misc]
    """As published, the pusher and the monitor end with the first error of the database; as a cluster here ends with
    them, see `render.cluster_hardening`, a short outage would kill every render at work. These two wait instead.
    """

    def dequeue(self) -> Any:
        try:
            return super().dequeue()
        except Error as error:
            logger.warning("No tickets, the database is away: %s", error)
            connection.close()
            time.sleep(PAUSE_SECONDS)
            return None

    def acknowledge(self, task_id: int) -> Any:
        try:
            return super().acknowledge(task_id)
        except Error as error:
            # It is only a ticket: it comes once more, hours later, and finds nothing to do.
            logger.warning("Ticket %s is left, the database is away: %s", task_id, error)
            connection.close()
            return None
