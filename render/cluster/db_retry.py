"""Retry a step through a database outage, rather than lose what a worker has just rendered."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity
from django.conf import settings
from django.db import connection

from accounts.database_errors import DATABASE_UNAVAILABLE

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
# Longer than it takes to notice that the database is unavailable: the time for a connection to each of its addresses,
# or the keepalives of an open one.
WORKED_SECONDS = 60.0

Result = TypeVar("Result")


def retry_through_outage(step: Callable[[], Result], *, check: Callable[[], None] = lambda: None) -> Result:
    """Call `step` until the database is available, for RENDER_OUTAGE_SECONDS after the first failure of an outage.

    A step that has worked for more than WORKED_SECONDS before it fails begins a new outage: the database had come back.

    step: must allow repetition. It may have succeeded although it raised: a connection can break after the commit.
    check: called before each further try; an exception from it ends the retries.
    """
    outage = _Outage()

    def before_pause(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("The database is unavailable, trying again: %s", error)
        connection.close()
        check()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(DATABASE_UNAVAILABLE),
        before=outage.try_begins,
        stop=outage.is_too_long,
        before_sleep=before_pause,
        wait=tenacity.wait_fixed(PAUSE_SECONDS),
        sleep=time.sleep,
        reraise=True,
    )
    return retrying(step)


class _Outage:
    """How long the database has been unavailable. All times are of the monotonic clock."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._try_began = 0.0

    def try_begins(self, state: tenacity.RetryCallState) -> None:
        self._try_began = time.monotonic()

    def is_too_long(self, state: tenacity.RetryCallState) -> bool:
        """Called when a try has failed."""
        now = time.monotonic()
        if self._began is None or now - self._try_began > WORKED_SECONDS:
            self._began = now
        return now > self._began + settings.RENDER_OUTAGE_SECONDS
