"""The database may be away for a while; what a worker has in its hands is worth more than that while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
# Longer than it takes to notice that the database is away: the time for a connection to each of its addresses, or the
# keepalives of one that is open.
WORKED_SECONDS = 60.0

Result = TypeVar("Result")


def outlast(step: Callable[[], Result], *, check: Callable[[], None] = lambda: None) -> Result:
    """Do a step that may be done again until the database takes it, for RENDER_OUTAGE_SECONDS after the first failure.

    That time begins anew when the step has worked for WORKED_SECONDS before it failed: the database had come back.

    check: called before each further try; what it raises ends the waiting. The step may have been done although it
    raised: the connection can break after the commit.
    """
    deadline: float | None = None  # Not from now on: the step itself may take hours.
    while True:
        started = time.monotonic()
        try:
            return step()
        except (OperationalError, InterfaceError) as error:
            now = time.monotonic()
            if deadline is None or now - started > WORKED_SECONDS:
                deadline = now + settings.RENDER_OUTAGE_SECONDS
            if now > deadline:
                raise
            logger.warning("The database is away, trying again: %s", error)
            connection.close()
        check()
        time.sleep(PAUSE_SECONDS)
