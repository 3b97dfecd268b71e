"""Ordinary requests: Django's synchronous handler on a few threads that stay.

Django's own ASGI handler starts a thread and some tasks for each request, and costs three times as much for a small one
(docs/benchmarks.md). A thread works for a request only while Django does: the body is here before it begins, and the
client reads the answer without it. So slow clients, however many, hold no thread.
"""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from django.db import close_old_connections
from django.http import StreamingHttpResponse

from creatorify.asgi_middleware.asgi import Headers, Receive, Scope, Send
from creatorify.asgi_middleware.problem_response import send_problem

logger = logging.getLogger(__name__)

# Each client that reads slowly keeps some of these in memory.
BLOCK_BYTES = 64 * 1024

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class _Answer:
    status: int
    headers: Headers
    body: bytes
    pieces: Iterator[bytes] | None = None  # Of a streamed answer, whose `body` is empty.
    close: Callable[[], None] | None = None


class DjangoRequests:
    """An ASGI application around Django's WSGI handler. threads: how many requests Django works on at once."""

    def __init__(self, handler: WsgiApplication, *, threads: int) -> None:
        self._handler = handler
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        body = await _read(receive)
        if body is None:  # The client has left, and is not told; or its body is not what its headers say.
            await send_problem(scope, send, "malformed", "The body could not be read to its end.", began=began)
            return
        try:
            answer = await self._run(self._ask, _environ(scope, body))
        except Exception:  # What Django itself answers to has been answered.
            logger.exception("Django could not take a request")
            detail = "Something went wrong here. The error was logged."
            await send_problem(scope, send, "internal", detail, began=began)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        try:
            if answer.pieces is not None and scope["method"] != "HEAD":
                while piece := await self._run(_next_block, answer.pieces):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if answer.close is not None:
                await self._run(answer.close)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *arguments))

    def _ask(self, environ: dict[str, Any]) -> _Answer:
        head: list[tuple[str, list[tuple[str, str]]]] = []
        response = cast(Any, self._handler(environ, lambda status, headers: head.append((status, headers))))
        status, fields = head[0]
        answer = _Answer(
            status=int(status[:3]),
            headers=[(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields],
            body=b"",
        )
        if isinstance(response, StreamingHttpResponse):
            answer.pieces, answer.close = iter(response), response.close
            close_old_connections()  # This thread's next request may come late, or never.
            return answer
        try:
            answer.body = b"".join(response)
        finally:
            response.close()
        return answer


def _next_block(pieces: Iterator[bytes]) -> bytes:
    """Some pieces together, since each turn to a thread and back costs as much as reading them. Empty at the end."""
    block = b""
    try:
        while len(block) < BLOCK_BYTES and (piece := next(pieces, None)) is not None:
            block += piece
    finally:
        close_old_connections()  # A piece may be made of rows; the client may read the block slowly.
    return block


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when the client left before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """PEP 3333."""
    # The raw path, where the server gives it: in the decoded one, bytes that are no UTF-8 are lost.
    raw = scope.get("raw_path")
    path = unquote_to_bytes(raw.partition(b"?")[0]) if raw else scope["path"].encode()
    server, port = scope.get("server") or ("localhost", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server,
        "SERVER_PORT": str(port or 0),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}" if key in environ else text
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    # The body is complete, so its length is known also when it came in chunks.
    for key in ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"):
        environ.pop(key, None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
