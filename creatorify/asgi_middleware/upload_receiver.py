"""Receives the files of uploads before Django, which would keep each whole body in memory before it calls a view.

The signed token in the URL tells whether a file is expected and how long it is: no other body is read. A few threads
write the file in blocks; while they are busy, no more is read from the client.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.db import connection

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.errors import ServiceError
from creatorify.asgi_middleware.request_headers import header
from creatorify.asgi_middleware.responses import send_json, send_problem
from creatorify.asgi_middleware.routes import upload_token
from projects.assets.arrivals import BLOCK_BYTES, Arrival
from projects.assets.upload_view import received
from projects.models import Asset

logger = logging.getLogger(__name__)

AT_ONCE = 128  # files in one process; each has up to BLOCK_BYTES in memory
AT_ONCE_OF_TENANT = 4  # A small share, because a file may take as long as its announcement is valid.
THREADS = 4  # for the disk and the database

Result = TypeVar("Result")


class UploadReceiver:
    """ASGI middleware: receives the PUT to an upload's URL, and passes on every other request.

    If `receive` raises or is cancelled, because the client is too slow, nothing of the file remains.
    """

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        self._of_tenant: Counter[uuid.UUID | None] = Counter()  # files that are arriving

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        token = upload_token(scope) if scope["type"] == "http" else None
        if scope["type"] != "http" or token is None:
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        try:
            asset = await self._receive(token, _content_length(scope), receive)
        except ServiceError as error:
            await send_problem(scope, send, error.code, error.detail, param=error.param, began=began)
        else:
            if asset is not None:
                await send_json(scope, send, received(asset), began=began)

    async def _receive(self, token: str, content_length: int | None, receive: ASGIReceiveCallable) -> Asset | None:
        """None if the client has disconnected."""
        arrival = Arrival(token)
        arrival.expect(content_length)
        try:
            with self._counted(arrival.tenant_id):
                await self._in_thread(arrival.begin)
                if not await self._write(arrival, receive):
                    return None
                return await self._in_thread(arrival.finish)
        finally:
            # Not awaited: after a cancelled request a thread may still be writing its file.
            self._threads.submit(arrival.abandon)

    async def _write(self, arrival: Arrival, receive: ASGIReceiveCallable) -> bool:
        """False if the client has disconnected."""
        block, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return False
            body, more = message.get("body", b""), message.get("more_body", False)
            arrival.count(len(body))
            block += body
            if block and (len(block) >= BLOCK_BYTES or not more):
                await self._in_thread(arrival.write, bytes(block))
                block.clear()
        return True

    @contextmanager
    def _counted(self, tenant_id: uuid.UUID | None) -> Iterator[None]:
        if self._of_tenant[tenant_id] >= AT_ONCE_OF_TENANT:
            detail = f"At most {AT_ONCE_OF_TENANT} files may be sent at once; send it again after one of them."
            raise ServiceError("too_many_uploads", detail)
        if self._of_tenant.total() >= AT_ONCE:
            raise ServiceError("unavailable", "Too many files are being sent at the moment; send it again soon.")
        self._of_tenant[tenant_id] += 1
        try:
            yield
        finally:
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]

    async def _in_thread(self, call: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _or_service_error, call, *arguments)


def _or_service_error(call: Callable[..., Result], *arguments: object) -> Result:
    """The result of the call. Every exception becomes a ServiceError, and those of our own fault are logged."""
    try:
        return call(*arguments)
    except ServiceError as error:
        if error.__cause__ is not None:
            logger.warning("An upload was refused: %s", error.__cause__)
        raise
    except DATABASE_UNAVAILABLE as error:
        logger.error("The database is away", exc_info=error)
        raise ServiceError("unavailable", "Temporarily unavailable.") from error
    except Exception as error:
        logger.exception("An upload could not be received")
        raise ServiceError("internal", "Something went wrong here. The error was logged.") from error
    finally:
        connection.close()  # Back to the pool: a thread that waits for its next call needs none.


def _content_length(scope: HTTPScope) -> int | None:
    text = header(scope, b"content-length")
    return int(text) if text.isdecimal() and text.isascii() else None
