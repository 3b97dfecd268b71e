"""Bounds the body of a request before Django reads it: Django itself would write any number of bytes to the disk."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from accounts.errors import problem

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
UPLOAD = re.compile(r"/api/v1/uploads/[^/]+/content/?")


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware, around Django. Answers 413 as the API's other errors are answered."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = settings.MAX_BODY_BYTES
        if UPLOAD.fullmatch(scope["path"]):
            limit = max(settings.MAX_IMAGE_BYTES, settings.MAX_AUDIO_BYTES)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        announced = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
                raise _TooLarge
            await self._application(scope, counted, send)
        except _TooLarge:
            await _refuse(send, limit)


async def _refuse(send: Send, limit: int) -> None:
    body = json.dumps(problem("payload_too_large", f"A body may have {limit} bytes.")).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # What follows on it is the rest of that body.
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
