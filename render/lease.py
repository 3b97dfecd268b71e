"""Holds a claimed render while its worker works, from a thread with a database connection of its own.

The thread also carries out what is asked of the render meanwhile: a cancel or a time-out ends it within one renewal,
even while the main thread is deep in C code. The worker learns of it at its next `check`, or from `Fenced` at its next
write.
"""

import logging
import threading
import time
from typing import Self

from django.conf import settings
from django.db import DatabaseError, connection

from accounts.errors import ServiceError
from render import fence, lifecycle
from render.fence import Claim, Fenced

logger = logging.getLogger(__name__)


class Draining(Exception):
    """The node takes a rest; the render is to go on elsewhere."""


class Lease:
    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._lost = False
        self._draining = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.render_id}", daemon=True)
        self._deadline = time.monotonic() + settings.RENDER_TIMEOUT_SECONDS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises Fenced when the render is no longer ours, Draining when it is to be handed back."""
        if self._lost:
            raise Fenced
        if self._draining:
            raise Draining

    def _keep(self) -> None:
        good_until = time.monotonic() + settings.RENDER_LEASE_SECONDS
        try:
            while not self._stop.wait(settings.RENDER_LEASE_RENEW_SECONDS):
                try:
                    self._renew()
                    good_until = time.monotonic() + settings.RENDER_LEASE_SECONDS
                except DatabaseError:
                    logger.warning("Render %s: lease not renewed, the database is away", self._claim.render_id)
                    connection.close()
                    self._lost = time.monotonic() > good_until
                if self._lost:
                    return
        except Fenced:
            self._lost = True
        finally:
            connection.close()

    def _renew(self) -> None:
        render = fence.renew(self._claim)
        if render.cancel_requested_at is not None:
            lifecycle.cancel(self._claim)
            self._lost = True
        elif time.monotonic() > self._deadline:
            limit = settings.RENDER_TIMEOUT_SECONDS
            lifecycle.fail(self._claim, ServiceError("render_timeout", f"The render took longer than {limit} s."))
            self._lost = True
        self._draining = render.node is not None and render.node.draining
