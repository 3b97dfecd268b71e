"""Renews the lease of a claimed render, from a thread with a database connection of its own.

The thread also takes the render from its worker when a cancel was requested, when the render has missed a deadline, or
when it has not got further for RENDER_TIMEOUT_SECONDS. That works even while the main thread is busy in C code. The
worker notices at its next `check`, or by `Fenced` at its next write.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from uuid import UUID

from django.conf import settings
from django.db import Error, connection

from accounts.errors import ServiceError
from render import fence
from render.cluster import ticket_clock
from render.cluster.claim_thread import ClaimThread
from render.fence import Claim, Fenced
from render.lifecycle import progress, retries, transitions

logger = logging.getLogger(__name__)

OUTAGE_PAUSE_SECONDS = 1.0


class Draining(Exception):
    """The node is draining: the render is to go on elsewhere."""


class Lease(ClaimThread):
    """Keeps a render for its worker; used as a context manager. Engines get it as their `RenderLease`."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(name=f"lease-{claim.render_id}")
        self._claim = claim
        self._progress: int | None = None  # In percent; written with the next renewal.
        self._furthest = 0.0  # The most that was reported: 0 to 1 while rendering, 1 to 2 while uploading.
        self._lost = False
        self._draining = False
        self._worker = threading.get_ident()
        self.moved_on()
        self._renewed()

    @property
    def render_id(self) -> UUID:
        return self._claim.render_id

    @property
    def attempt(self) -> int:
        return self._claim.attempt

    def check(self) -> None:
        """Raises Fenced when this worker no longer holds the render."""
        if self._lost:
            raise Fenced

    def check_draining(self) -> None:
        """Raises Draining when the node drains. Called between two segments, where a render can be handed back."""
        if self._draining:
            raise Draining

    def seconds_left(self) -> float:
        """For how long the lease is still valid."""
        left: float = self._good_until - time.monotonic()
        return max(left, 0.0)

    def report(self, rendered: float) -> None:
        """rendered: share of the whole video, from 0 to 1."""
        self._progress = progress.of_rendering(rendered)
        self._reached(rendered)

    def report_upload(self, uploaded: float) -> None:
        """uploaded: share of the finished video, from 0 to 1."""
        self._progress = progress.of_uploading(uploaded)
        self._reached(1 + uploaded)

    def moved_on(self) -> None:
        """The render has got further by a file, a segment or a phase: RENDER_TIMEOUT_SECONDS begin again."""
        self._deadline = time.monotonic() + settings.RENDER_TIMEOUT_SECONDS
        ticket_clock.begin_anew()

    def _reached(self, share: float) -> None:
        # Work that is repeated because it was lost does not count.
        if share > self._furthest:
            self._furthest = share
            self.moved_on()

    def _keep(self) -> None:
        try:
            pause = settings.RENDER_LEASE_RENEW_SECONDS
            while not self._stop.wait(pause):
                try:
                    self._renew()
                    self._renewed()
                    pause = settings.RENDER_LEASE_RENEW_SECONDS
                except Error:
                    logger.warning("Render %s: lease not renewed, the database is away", self._claim.render_id)
                    connection.close()
                    self._go_on_without_database()
                    pause = min(OUTAGE_PAUSE_SECONDS, settings.RENDER_LEASE_RENEW_SECONDS)
                if self._lost:
                    return
        except Fenced:
            self._lost = True
        finally:
            connection.close()
            if self._lost:
                self._end_hanging_worker()

    def _end_hanging_worker(self) -> None:
        """Kill a worker that has not noticed the end of its render in time; its queue starts a new one."""
        if not self._stop.wait(settings.RENDER_HANG_SECONDS):
            logger.critical("Render %s has ended, and its worker hangs: it is killed", self._claim.render_id)
            os.kill(os.getpid(), signal.SIGKILL)

    def _renewed(self) -> None:
        self._renewed_at = time.monotonic()
        self._good_until = self._renewed_at + settings.RENDER_LEASE_SECONDS

    def _go_on_without_database(self) -> None:
        """Go on with the render for RENDER_OUTAGE_SECONDS after the last renewal.

        If all are without the database, nobody can have reaped the render. If only this node is, another one may have
        it by now: then the fence ends this one, as soon as the database is back.
        """
        self._good_until = time.monotonic() + settings.RENDER_LEASE_SECONDS
        self._deadline = max(self._deadline, self._good_until)  # What is done by then can still be recorded.
        self._lost = time.monotonic() > self._renewed_at + settings.RENDER_OUTAGE_SECONDS

    def _renew(self) -> None:
        render, is_overdue = fence.renew(self._claim, progress=self._progress)
        if render.cancel_requested_at is not None:
            transitions.cancel(self._claim)
            self._lost = True
        elif is_overdue:
            self._lost = transitions.fail_overdue(self._claim)
        elif time.monotonic() > self._deadline:
            self._give_up()
            self._lost = True
        self._draining = render.node is not None and render.node.draining

    def _give_up(self) -> None:
        """Queue the render again: the machine may be at fault, and recorded segments are not rendered again."""
        limit = settings.RENDER_TIMEOUT_SECONDS
        logger.error("Render %s has got no further for %s s", self._claim.render_id, limit)
        frame = sys._current_frames().get(self._worker)
        trace = "".join(traceback.format_stack(frame)) if frame else ""
        error = ServiceError("render_timeout", f"The render got no further for {limit} s.")
        retries.retry_later(self._claim, error, trace=trace)
