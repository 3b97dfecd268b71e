"""Limits of one client: its headers, the size and the time of its body, and the time to read an answer.

The web server bounds what comes before: size and time of the headers, and the connections (`creatorify.web`).
"""

import asyncio
import time

from django.conf import settings

from creatorify.asgi_middleware.asgi import Application, Message, Receive, Scope, Send
from creatorify.asgi_middleware.problem_response import send_problem
from creatorify.asgi_middleware.request_headers import BadHeader, readable
from creatorify.asgi_middleware.routes import UPLOAD

SILENCE_SECONDS = 15.0  # The longest pause within a body.
GRACE_SECONDS = 30.0  # After this a body must have come at MIN_BYTES_PER_SECOND on average.
MIN_BYTES_PER_SECOND = 4096  # A poor mobile connection has some 10 kB a second.
READ_SECONDS = 60.0  # The longest that a client may leave a piece of a streamed answer unread.


class _Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class ClientLimits:
    """ASGI middleware. Answers 413 or 408 as the API's other errors are answered, and closes the connection."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started, began = False, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            if not message.get("more_body"):
                await send(message)
                return
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        try:
            headers = readable(scope["headers"])
            # An upload's address tells how many bytes may come, see `UploadReceiver`.
            is_upload = scope["method"] == "PUT" and UPLOAD.fullmatch(scope["path"])
            limit = None if is_upload else settings.MAX_BODY_BYTES
            body = _Body(receive, limit=limit)
            body.check_announced(dict(headers).get(b"content-length", b"0"))
            await self._application({**scope, "headers": headers}, body.receive, answer)
        except BadHeader as bad:
            await send_problem(scope, send, "malformed", str(bad), began=began)
        except _Refused as refused:
            if started:
                raise
            await send_problem(scope, send, refused.code, refused.detail, began=began)


class _Body:
    """A request's body on its way in."""

    def __init__(self, receive: Receive, *, limit: int | None) -> None:
        self._receive = receive
        self._limit = limit
        self._received = 0
        self._complete = False
        self._started: float | None = None

    def check_announced(self, content_length: bytes) -> None:
        if self._limit is not None and content_length.isdigit() and int(content_length) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()  # Only the client's leaving can come now.
        if self._started is None:
            self._started = time.monotonic()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise _Refused("request_timeout", f"Nothing of the body came for {SILENCE_SECONDS:g} s.") from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._limit is not None and self._received > self._limit:
            raise self._too_large()
        seconds = time.monotonic() - self._started
        if not self._complete and seconds > GRACE_SECONDS and self._received < MIN_BYTES_PER_SECOND * seconds:
            detail = f"{self._received} bytes came in {seconds:.0f} s; at least {MIN_BYTES_PER_SECOND} a second must."
            raise _Refused("request_timeout", detail)
        return message

    def _too_large(self) -> _Refused:
        return _Refused("payload_too_large", f"A body may have {self._limit} bytes.")
