"""How many connections one tenant may keep open for news: event streams, and status requests that wait.

Each is cheap, but holds one of the process's connections for as long as its client likes. Without a limit one customer
could hold all of them.
"""

import time
from collections import Counter
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error, connection

from accounts.api_keys import keys
from accounts.api_keys.authentication import presented_key
from creatorify.asgi_middleware import connections
from creatorify.asgi_middleware.asgi import Application, Receive, Scope, Send, header
from creatorify.asgi_middleware.problem_response import send_problem
from creatorify.asgi_middleware.routes import EVENTS, STATUS

SHARE = 4  # A tenant may hold, in all processes together, a quarter of one process's connections.
MAX_KNOWN_KEYS = 10_000


class StreamLimit:
    """ASGI middleware. Answers 429 `too_many_streams` to a tenant that holds too many connections in this process."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._open: Counter[UUID] = Counter()
        self._tenants: dict[str, UUID] = {}  # By the key's prefix: a key never changes its tenant.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_stay_open(scope):
            await self._application(scope, receive, send)
            return
        tenant = await self._tenant(presented_key(header(scope, b"x-api-key"), header(scope, b"authorization")))
        if tenant is None:  # It is refused at once, and holds nothing.
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

    async def _tenant(self, plain: str) -> UUID | None:
        """Whose key it is. None also while the database is away, which the request itself is then told."""
        prefix = keys.prefix_of(plain)
        if prefix is None or prefix in self._tenants:
            return self._tenants.get(prefix or "")
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
        connection.close()  # To the pool: other threads wait for one.


_query_tenant = sync_to_async(_read_tenant, thread_sensitive=False)


def _may_stay_open(scope: Scope) -> bool:
    path = scope["path"]
    if EVENTS.fullmatch(path):
        return True
    return STATUS.fullmatch(path) is not None and any(name == b"prefer" for name, _ in scope["headers"])
