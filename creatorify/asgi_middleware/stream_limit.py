"""How many connections one API key may keep open for news: event streams, and status requests that wait.

Each is cheap, but holds one of the process's connections for as long as its client likes. Without a limit one customer
could hold all of them.
"""

import time
from collections import Counter

from creatorify import connections
from creatorify.asgi_middleware.asgi import Application, Receive, Scope, Send
from creatorify.asgi_middleware.problem_response import send_problem
from creatorify.asgi_middleware.routes import EVENTS, STATUS

SHARE = 4  # A key may hold a quarter of the connections.
CREDENTIALS = (b"x-api-key", b"authorization")


class StreamLimit:
    """ASGI middleware. Answers 429 `too_many_streams` to whoever holds too many connections in this process."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._open: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_stay_open(scope):
            await self._application(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        # What is no key of ours is refused at once and holds nothing.
        key = next((headers[name] for name in CREDENTIALS if name in headers), b"")
        limit = max(connections.most() // SHARE, 1)
        if self._open[key] >= limit:
            detail = f"This key has {limit} streams and waiting requests open on this server; no more are possible."
            await send_problem(scope, send, "too_many_streams", detail, began=time.perf_counter())
            return
        self._open[key] += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


def _may_stay_open(scope: Scope) -> bool:
    path = scope["path"]
    if EVENTS.fullmatch(path):
        return True
    return STATUS.fullmatch(path) is not None and any(name == b"prefer" for name, _ in scope["headers"])
