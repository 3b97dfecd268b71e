"""`Prefer: wait=N` (RFC 7240) on a project's status: the answer waits until there is something new to tell.

Around Django, and not in a view, where each request that waits would hold one of its threads.
"""

import asyncio
import re
from uuid import UUID

from creatorify.asgi_middleware.asgi import Application, Message, Receive, Scope, Send, header
from creatorify.asgi_middleware.routes import STATUS
from projects.progress.watcher import watcher

MAX_SECONDS = 25  # Less than what clients and proxies wait for.
WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,6})(?=$|[,;\s])")


class LongPoll:
    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        project = STATUS.fullmatch(scope.get("path", "")) if scope["type"] == "http" else None
        wanted = WAIT.search(header(scope, b"prefer")) if project and scope["method"] == "GET" else None
        if project is None or wanted is None:
            await self._application(scope, receive, send)
            return
        project_id, seconds = UUID(project[1]), min(int(wanted[1]), MAX_SECONDS)
        while (await receive()).get("more_body"):
            pass  # A GET has no use for a body. What comes after it is the client's leaving.
        gone = asyncio.ensure_future(receive())
        try:
            seen = await watcher().wait(project_id, None, seconds=MAX_SECONDS)
            answer = await self._ask(scope)
            # 304 is what a client gets that knows as much already.
            may_change = answer[0]["status"] in (200, 304) and seen is not None and not seen.is_last
            if may_change and not gone.done():
                waiting = asyncio.ensure_future(watcher().wait(project_id, seen, seconds=seconds))
                await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if gone.done():
                    return
                answer = await self._ask(scope)
            applied = (b"preference-applied", f"wait={seconds}".encode())
            for message in answer:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], applied]}
                await send(message)
        finally:
            gone.cancel()

    async def _ask(self, scope: Scope) -> list[Message]:
        """What Django answers, with its authentication and all."""
        messages: list[Message] = []
        bodies = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            body = next(bodies, None)
            if body is None:
                await asyncio.Event().wait()  # Until Django is done, and stops to listen.
            assert body is not None
            return body

        async def send(message: Message) -> None:
            messages.append(message)

        await self._application(dict(scope), receive, send)
        return messages
