"""The database may be away for a while; what a worker has in its hands is worth more than that while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0

Result = TypeVar("Result")


def outlast(step: Callable[[], Result], *, check: Callable[[], None] = lambda: None) -> Result:
    """Do a step that may be done again until the database takes it, for RENDER_OUTAGE_SECONDS after the first failure.

    check: called before each further try; what it raises ends the waiting. The step may have been done although it
    raised: the connection can break after the commit.
    """
    deadline: float | None = None  # Not from now on: the step itself may take hours.
    while True:
        try:
            return step()
        except (OperationalError, InterfaceError) as error:
            deadline = deadline or time.monotonic() + settings.RENDER_OUTAGE_SECONDS
            if time.monotonic() > deadline:
                raise
            logger.warning("The database is away, trying again: %s", error)
            connection.close()
        check()
        time.sleep(PAUSE_SECONDS)
