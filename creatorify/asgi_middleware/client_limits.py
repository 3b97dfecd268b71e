"""Limits of one client: its headers, the size and the time of its body, and the time to read a response.

The web server limits the time and size of the headers and the number of connections, see `creatorify.web.server`.
"""

import asyncio
import time

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from django.conf import settings

from creatorify.asgi_middleware.request_headers import BadHeader, readable
from creatorify.asgi_middleware.responses import send_problem
from creatorify.asgi_middleware.routes import upload_token

SILENCE_SECONDS = 15.0  # the longest pause within a body
GRACE_SECONDS = 30.0  # After it, a body must have arrived at MIN_BYTES_PER_SECOND on average.
MIN_BYTES_PER_SECOND = 4096  # A poor mobile connection has about 10 kB a second.
READ_SECONDS = 60.0  # A client must read each piece of a streamed response within it.


class _Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class ClientLimits:
    """ASGI middleware. Sends 400, 408 or 413 in the shape of the API's errors, and closes the connection."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started, began = False, time.perf_counter()

        async def send_in_time(message: ASGISendEvent) -> None:
            nonlocal started
            started = True
            if not message.get("more_body"):
                await send(message)
                return
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        try:
            headers = readable(scope["headers"])
            # The URL of an upload tells the size of its body, which `UploadReceiver` checks.
            limit = settings.MAX_BODY_BYTES if upload_token(scope) is None else None
            body = _Body(receive, limit=limit)
            body.check_announced(dict(headers).get(b"content-length", b"0"))
            await self._application({**scope, "headers": headers}, body.receive, send_in_time)
        except BadHeader as bad:
            await send_problem(scope, send, "malformed", str(bad), began=began)
        except _Refused as refused:
            if started:
                raise
            await send_problem(scope, send, refused.code, refused.detail, began=began)


class _Body:
    """The body of one request while it arrives."""

    def __init__(self, receive: ASGIReceiveCallable, *, limit: int | None) -> None:
        """limit: in bytes; None: no limit here."""
        self._receive = receive
        self._limit = limit
        self._received = 0
        self._complete = False
        self._started: float | None = None

    def check_announced(self, content_length: bytes) -> None:
        if self._limit is not None and content_length.isdigit() and int(content_length) > self._limit:
            raise self._too_large()

    async def receive(self) -> ASGIReceiveEvent:
        if self._complete:
            return await self._receive()  # The next message can only be the end of the connection.
        if self._started is None:
            self._started = time.monotonic()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise _Refused("request_timeout", f"Nothing of the body came for {SILENCE_SECONDS:g} s.") from None
        if message["type"] != "http.request":
            self._complete = True
            return message
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
        return _Refused("payload_too_large", f"A body may have at most {self._limit} bytes.")
