"""Wakes whatever waits for a change of a project's progress; one statement serves all waiters of the process."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error, connection

from accounts.api_keys import keys
from accounts.models import ApiKey
from projects.models import Take
from render.models import TERMINAL_STATES

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
ACCESS_SECONDS = 2.0  # After which a stream ends at the latest, once its key is no longer valid.


@dataclass(frozen=True)
class Snapshot:
    """What is compared to see a change. Without a render: there is no such project, or no longer."""

    render_id: UUID | None = None
    state: str = ""
    phase: str = ""
    progress: int = 0

    @property
    def is_last(self) -> bool:
        return self.render_id is None or self.state in TERMINAL_STATES


@dataclass(frozen=True)
class Access:
    """The key, the scope and the address by which a waiter was admitted."""

    key_id: UUID
    scope: str
    ip_address: str | None

    def is_open_with(self, key: ApiKey | None) -> bool:
        """key: its row as it is now; None when it is no longer valid."""
        return key is not None and self.scope in key.scopes and keys.is_allowed_from(key, self.ip_address)


class AccessEnded(Exception):
    """The key was revoked, has expired, lost its scope or the network, or its tenant is suspended."""


@dataclass(eq=False)
class _Waiter:
    project_id: UUID
    seen: Snapshot | None
    access: Access | None
    change: asyncio.Future[Snapshot] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Watcher:
    """The watcher of one event loop. It polls: a pooler in transaction mode does not support LISTEN."""

    def __init__(self) -> None:
        self._waiters: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None
        self._access_checked = time.monotonic()

    async def wait(
        self, project_id: UUID, seen: Snapshot | None, *, seconds: float, access: Access | None = None
    ) -> Snapshot | None:
        """The project's state as soon as it differs from `seen`; None if it does not for `seconds`.

        access: what is checked again while this waits. Raises AccessEnded once it is no longer valid.
        """
        waiter = _Waiter(project_id, seen, access)
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await asyncio.wait_for(waiter.change, seconds)
        except TimeoutError:
            return None
        finally:
            self._waiters.discard(waiter)

    async def _poll(self) -> None:
        while self._waiters:
            try:
                await self._end_without_access()
                waiters = list(self._waiters)  # Whoever comes during the query has to wait for the next one.
                snapshots = await _query({waiter.project_id for waiter in waiters})
            except Error:
                logger.exception("The database is away; trying again")
            else:
                for waiter in waiters:
                    now = snapshots.get(waiter.project_id, Snapshot())
                    if now != waiter.seen and not waiter.change.done():
                        waiter.change.set_result(now)
            await asyncio.sleep(POLL_SECONDS)

    async def _end_without_access(self) -> None:
        """Wake waiters whose access is no longer valid; one statement for all, and not at every poll."""
        accesses = {waiter.access for waiter in self._waiters if waiter.access}
        if not accesses or time.monotonic() < self._access_checked + ACCESS_SECONDS:
            return
        ended = await _query_ended(accesses)
        self._access_checked = time.monotonic()
        for waiter in list(self._waiters):
            if waiter.access in ended and not waiter.change.done():
                waiter.change.set_exception(AccessEnded)


_watchers: dict[asyncio.AbstractEventLoop, Watcher] = {}


def watcher() -> Watcher:
    loop = asyncio.get_running_loop()
    if loop not in _watchers:
        _watchers.clear()  # Those of loops that have ended.
        _watchers[loop] = Watcher()
    return _watchers[loop]


def _read(project_ids: Iterable[UUID]) -> dict[UUID, Snapshot]:
    takes = Take.objects.filter(project__in=list(project_ids), project__deleted_at=None)
    latest: Any = takes.order_by("project", "-number").distinct("project").select_related("render")
    try:
        return {
            take.project_id: Snapshot(take.render_id, take.render.state, take.render.phase, take.render.progress)
            for take in latest.only("project_id", "render__state", "render__phase", "render__progress")
        }
    finally:
        connection.close()  # Back to the pool, for the time between two polls.


def _read_ended(accesses: Collection[Access]) -> set[Access]:
    try:
        open_keys = keys.still_usable({access.key_id for access in accesses})
        return {access for access in accesses if not access.is_open_with(open_keys.get(access.key_id))}
    finally:
        connection.close()


# In a thread of its own: the thread of a request would end with that request.
_query = sync_to_async(_read, thread_sensitive=False)
_query_ended = sync_to_async(_read_ended, thread_sensitive=False)
