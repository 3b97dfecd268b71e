"""Ordinary requests: Django's synchronous handler in a pool of a few threads.

Django's own ASGI handler starts a thread and some tasks for each request, which makes a small request three times as
expensive (docs/benchmarks.md). Here a request holds a thread only while Django works on it: its whole body is read
before, and the client reads the response after. So slow clients hold no threads, however many they are.
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

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.db import close_old_connections
from django.http import StreamingHttpResponse

from creatorify.asgi_middleware.request_headers import Headers
from creatorify.asgi_middleware.responses import response_body, response_start, send_problem

logger = logging.getLogger(__name__)

BLOCK_BYTES = 64 * 1024  # of a streamed response; a slow client keeps a few blocks in memory

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class _Response:
    status: int
    headers: Headers
    body: bytes
    pieces: Iterator[bytes] | None = None  # of a streamed response, whose `body` is empty
    close: Callable[[], None] | None = None


class DjangoRequests:
    """An ASGI application around Django's WSGI handler. threads: how many requests Django works on at once."""

    def __init__(self, handler: WsgiApplication, *, threads: int) -> None:
        self._handler = handler
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        began = time.perf_counter()
        body = await _read(receive)
        if body is None:  # The client has disconnected, or its body is not as its headers say.
            await send_problem(scope, send, "malformed", "The body could not be read to its end.", began=began)
            return
        try:
            response = await self._run(self._respond, _environ(scope, body))
        except Exception:  # Django responds to exceptions of views itself; this one is raised before or after them.
            logger.exception("Django could not handle a request")
            detail = "Something went wrong here. The error was logged."
            await send_problem(scope, send, "internal", detail, began=began)
            return
        await send(response_start(response.status, response.headers))
        try:
            if response.pieces is not None and scope["method"] != "HEAD":
                while block := await self._run(_next_block, response.pieces):
                    await send(response_body(block, more_body=True))
        finally:
            if response.close is not None:
                await self._run(response.close)
        await send(response_body(b"" if scope["method"] == "HEAD" else response.body))

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *arguments))

    def _respond(self, environ: dict[str, Any]) -> _Response:
        """Runs in one of the threads."""
        head: list[tuple[str, list[tuple[str, str]]]] = []
        content = cast(Any, self._handler(environ, lambda status, headers: head.append((status, headers))))
        status, fields = head[0]
        response = _Response(
            status=int(status[:3]),
            headers=[(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields],
            body=b"",
        )
        if isinstance(content, StreamingHttpResponse):
            response.pieces, response.close = iter(content), content.close
            close_old_connections()  # The next request of this thread may come late, or never.
            return response
        try:
            response.body = b"".join(content)
        finally:
            content.close()
        return response


def _next_block(pieces: Iterator[bytes]) -> bytes:
    """The next pieces, about BLOCK_BYTES; empty at the end. Each call costs a switch of threads."""
    block = b""
    try:
        while len(block) < BLOCK_BYTES and (piece := next(pieces, None)) is not None:
            block += piece
    finally:
        close_old_connections()  # Reading a piece may query the database; the client may read the block slowly.
    return block


async def _read(receive: ASGIReceiveCallable) -> bytes | None:
    """The whole body; None if the client disconnected before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _environ(scope: HTTPScope, body: bytes) -> dict[str, Any]:
    """The environment of a WSGI request (PEP 3333)."""
    # The raw path, if the server gives it: the decoded one has lost bytes that are not UTF-8.
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
    if client := scope.get("client"):
        environ["REMOTE_ADDR"] = client[0]
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}" if key in environ else text
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    # The body is complete, so its length is known even if it came in chunks.
    for key in ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"):
        environ.pop(key, None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
