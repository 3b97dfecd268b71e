"""`Prefer: wait=N` (RFC 7240) on a project's status: the response waits until the status changes, N seconds at most.

It is a layer around Django, because each request that waited in a view would hold a thread.
"""

import asyncio
import re
from uuid import UUID

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)

from creatorify.asgi_middleware.request_headers import header
from creatorify.asgi_middleware.responses import response_start
from creatorify.asgi_middleware.routes import STATUS
from projects.progress.watcher import watcher

MAX_SECONDS = 25  # Clients and proxies wait longer than that for a response.
WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,6})(?=$|[,;\s])")


class LongPoll:
    """ASGI middleware."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._application(scope, receive, send)
            return
        project, wait = STATUS.fullmatch(scope["path"]), WAIT.search(header(scope, b"prefer"))
        if project is None or wait is None:
            await self._application(scope, receive, send)
            return
        project_id, seconds = UUID(project[1]), min(int(wait[1]), MAX_SECONDS)
        while await _has_more_body(receive):
            pass  # A GET has no use for a body. The message after it is the end of the connection.
        disconnected = asyncio.ensure_future(receive())
        try:
            seen = await watcher().wait(project_id, None, seconds=MAX_SECONDS)
            response = await self._response(scope)
            # 304: the client has this status already.
            may_change = _status(response) in (200, 304) and seen is not None and not seen.is_last
            if may_change and not disconnected.done():
                change = asyncio.ensure_future(watcher().wait(project_id, seen, seconds=seconds))
                await asyncio.wait({change, disconnected}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                if disconnected.done():
                    return
                response = await self._response(scope)
            applied = (b"preference-applied", f"wait={seconds}".encode())
            for message in response:
                if message["type"] == "http.response.start":
                    message = response_start(message["status"], [*message["headers"], applied])
                await send(message)
        finally:
            disconnected.cancel()

    async def _response(self, scope: HTTPScope) -> list[ASGISendEvent]:
        """The messages of Django's whole response; Django checks the key, too."""
        messages: list[ASGISendEvent] = []
        is_read = False

        async def receive() -> ASGIReceiveEvent:
            nonlocal is_read
            if is_read:
                await asyncio.Event().wait()  # for ever: Django cancels it when it has sent its response
            is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: ASGISendEvent) -> None:
            messages.append(message)

        await self._application({**scope}, receive, send)
        return messages


async def _has_more_body(receive: ASGIReceiveCallable) -> bool:
    return bool((await receive()).get("more_body"))


def _status(response: list[ASGISendEvent]) -> int:
    start = response[0]
    assert start["type"] == "http.response.start"
    return start["status"]
