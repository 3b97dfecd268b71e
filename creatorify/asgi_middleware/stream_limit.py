"""How many connections one tenant may hold open for progress: event streams, and status requests that wait.

Each costs little, but holds a connection of the process for as long as its client likes. Without a limit one tenant
could hold all of them.
"""

import time
from collections import Counter
from uuid import UUID

from asgiref.sync import sync_to_async
from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.conf import settings
from django.db import Error, connection

from accounts.api_keys import keys
from accounts.api_keys.authentication import presented_key
from creatorify.asgi_middleware import connections
from creatorify.asgi_middleware.request_headers import header
from creatorify.asgi_middleware.responses import send_problem
from creatorify.asgi_middleware.routes import EVENTS, STATUS

SHARE = 4  # A tenant may hold a quarter of one process's connections, in all processes of this machine together.
MAX_KNOWN_KEYS = 10_000


class StreamLimit:
    """ASGI middleware. Sends 429 `too_many_streams` to a tenant that holds too many connections in this process."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application
        self._open: Counter[UUID] = Counter()
        self._tenants: dict[str, UUID] = {}  # by the prefix of a key: a key never changes its tenant

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http" or not _may_stay_open(scope):
            await self._application(scope, receive, send)
            return
        tenant = await self._tenant(presented_key(header(scope, b"x-api-key"), header(scope, b"authorization")))
        if tenant is None:  # Django refuses it at once, so it holds nothing.
            await self._application(scope, receive, send)
            return
        limit = max(connections.most() // SHARE // settings.WEB_CONCURRENCY, 1)
        if self._open[tenant] >= limit:
            detail = f"{limit} streams and waiting requests of this account are open on this server; no more may be."
            await send_problem(scope, send, "too_many_streams", detail, began=time.perf_counter())
            return
        self._open[tenant] += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def _tenant(self, plain_key: str) -> UUID | None:
        """The tenant of a key. None if the key is unknown, or the database is away: then the request itself fails."""
        prefix = keys.prefix_of(plain_key)
        if prefix is None:
            return None
        if prefix in self._tenants:
            return self._tenants[prefix]
        try:
            tenant = await _query_tenant(prefix)
        except Error:
            return None
        if tenant is not None:
            if len(self._tenants) >= MAX_KNOWN_KEYS:
                self._tenants.clear()
            self._tenants[prefix] = tenant
        return tenant


def _read_tenant(prefix: str) -> UUID | None:
    try:
        return keys.tenant_id_of(prefix)
    finally:
        connection.close()  # Back to the pool, because this thread may not need it again.


_query_tenant = sync_to_async(_read_tenant, thread_sensitive=False)


def _may_stay_open(scope: HTTPScope) -> bool:
    path = scope["path"]
    if EVENTS.fullmatch(path):
        return True
    return STATUS.fullmatch(path) is not None and any(name == b"prefer" for name, _ in scope["headers"])
