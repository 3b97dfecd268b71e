"""Requests share a few threads that stay, one for each connection to the database.

Django runs each request in a thread of its own, which ends with it. To make one anew, with its objects of the database,
takes a fifth of the time of a small request; and many at once, of which only one can run, slow each other down.
"""

import re
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from creatorify.body_limit import Application, Receive, Send

STREAM = re.compile(r"/api/v1/projects/[^/]+/events/?")


class RequestThreads:
    """ASGI middleware, around Django, which leaves alone the context that it finds.

    A request goes to the thread of which the fewest do. While it waits for its client, as its body comes or its answer
    goes, it keeps nobody from that. What may take long in its thread gets one from Django: streams of events.
    Without a pool of connections, `number` is 0 and all get one from Django.
    """

    def __init__(self, application: Application, *, number: int) -> None:
        self._application = application
        self._load = {ThreadSensitiveContext(): 0 for _ in range(number)}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not self._load or STREAM.fullmatch(path):
            await self._application(scope, receive, send)
            return
        context = min(self._load, key=self._load.__getitem__)
        self._load[context] += 1
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            await self._application(scope, receive, send)
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            self._load[context] -= 1
