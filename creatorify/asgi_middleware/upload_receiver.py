"""Takes the files of uploads before Django does, which would get each body whole before any view runs.

The signature of the address tells whether a body is awaited, and how long it is: nothing else is read. What comes is
written in pieces by a few threads; while they are busy, no more is read from the client.
"""

import asyncio
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.errors import ServiceError
from creatorify.asgi_middleware.asgi import Application, Receive, Scope, Send
from creatorify.asgi_middleware.problem_response import send_problem
from creatorify.asgi_middleware.routes import UPLOAD
from creatorify.middleware.request_id import log_answer
from projects.assets.arrivals import BLOCK_BYTES, Arrival
from projects.assets.upload_view import received
from projects.models import Asset

logger = logging.getLogger(__name__)

AT_ONCE = 128  # bodies in one process; each has up to BLOCK_BYTES in memory
AT_ONCE_OF_TENANT = 4  # A small share: a body may come for as long as its announcement lasts.
THREADS = 4  # for the disk and the database

Result = TypeVar("Result")


class UploadReceiver:
    """ASGI middleware: takes the PUT to an upload's address, and passes everything else on.

    A `receive` that raises or is cancelled, because the client is too slow, leaves nothing of the file.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        self._of_tenant: Counter[uuid.UUID | None] = Counter()  # bodies that are coming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_put = scope["type"] == "http" and scope["method"] == "PUT"
        upload = UPLOAD.fullmatch(scope["path"]) if is_put else None
        if upload is None:
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        try:
            asset = await self._take(upload[1], _content_length(scope), receive)
        except ServiceError as error:
            await send_problem(scope, send, error.code, error.detail, param=error.param, began=began)
        else:
            if asset is not None:
                await _answer(scope, send, asset, began=began)

    async def _take(self, token: str, content_length: int | None, receive: Receive) -> Asset | None:
        """None when the client has left."""
        arrival = Arrival(token)
        arrival.expect(content_length)
        try:
            with self._place(arrival.tenant_id):
                await self._in_thread(arrival.begin)
                if not await self._write(arrival, receive):
                    return None
                return await self._in_thread(arrival.finish)
        finally:
            # Not waited for: the request may be over, and a thread still be writing for it.
            self._threads.submit(arrival.abandon)

    async def _write(self, arrival: Arrival, receive: Receive) -> bool:
        """False when the client has left."""
        block, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            body, more = message.get("body", b""), message.get("more_body", False)
            arrival.count(len(body))
            block += body
            if block and (len(block) >= BLOCK_BYTES or not more):
                await self._in_thread(arrival.write, bytes(block))
                block.clear()
        return True

    @contextmanager
    def _place(self, tenant_id: uuid.UUID | None) -> Iterator[None]:
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
        return await asyncio.get_running_loop().run_in_executor(self._threads, _answered, call, *arguments)


def _answered(call: Callable[..., Result], *arguments: object) -> Result:
    """Raises ServiceError for whatever goes wrong."""
    try:
        return call(*arguments)
    except ServiceError as error:
        if error.__cause__ is not None:
            logger.warning("An upload was not taken: %s", error.__cause__)
        raise
    except DATABASE_UNAVAILABLE as error:
        logger.error("The database is away", exc_info=error)
        raise ServiceError("unavailable", "Temporarily unavailable.") from error
    except Exception as error:
        logger.exception("An upload could not be taken")
        raise ServiceError("internal", "Something went wrong here. The error was logged.") from error
    finally:
        connection.close()  # Return it to the pool: a thread that waits for its next job needs none.


def _content_length(scope: Scope) -> int | None:
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else None


async def _answer(scope: Scope, send: Send, asset: Asset, *, began: float) -> None:
    content = json.dumps(received(asset)).encode()
    request_id = f"req_{uuid.uuid4().hex}"
    log_answer(request_id, scope["method"], scope["path"], 200, began=began)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
