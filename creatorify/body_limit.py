"""Bounds the body of a request before Django reads it: Django itself would write any number of bytes to the disk."""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from accounts.errors import problem
from render.node_faults import is_of_disk

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
RETRY_SECONDS = 30
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

        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        announced = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if announced.isdigit() and int(announced) > limit:
                raise _TooLarge
            await self._application(scope, counted, noted)
        except _TooLarge:
            await _refuse(send, problem("payload_too_large", f"A body may have {limit} bytes."))
        except OSError as error:
            # Django keeps a large body in a temporary file, and reads all of it before any view.
            if started or not is_of_disk(error):
                raise
            logger.exception("A request was refused: no room for its body")
            await _refuse(send, problem("unavailable", "This server has no room to take the request now."))


async def _refuse(send: Send, told: Mapping[str, Any]) -> None:
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # What follows on it is the rest of that body.
    ]
    if told["status"] == 503:
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await send({"type": "http.response.start", "status": told["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
