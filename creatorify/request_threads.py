"""Requests take turns on a few threads that stay.

Django runs each request in a thread of its own, which ends with it. To make one anew, with its objects of the database,
takes a fifth of the time of a small request.
"""

import re
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from creatorify.body_limit import Application, Receive, Send

KEPT = 32
STREAM = re.compile(r"/api/v1/projects/[^/]+/events/?")


class RequestThreads:
    """ASGI middleware, around Django, which leaves alone the context that it finds.

    A request has its thread for itself, as Django means it. Those that find none free, and streams, which would keep
    one for as long as they are open, get one from Django.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._free = [ThreadSensitiveContext() for _ in range(KEPT)]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if not self._free or STREAM.fullmatch(scope.get("path", "")):
            await self._application(scope, receive, send)
            return
        context = self._free.pop()
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            await self._application(scope, receive, send)
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            self._free.append(context)
