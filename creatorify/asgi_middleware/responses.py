"""Whole responses of the layers around Django, errors in the shape of the API's other errors (RFC 9457)."""

import json
import uuid
from collections.abc import Iterable
from typing import Any

from asgiref.typing import ASGISendCallable, HTTPResponseBodyEvent, HTTPResponseStartEvent, HTTPScope

from accounts.errors import CONTENT_TYPE, problem
from creatorify.middleware.request_id import log_response

RETRY_SECONDS = 30


def response_start(status: int, headers: Iterable[tuple[bytes, bytes]]) -> HTTPResponseStartEvent:
    return {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}


def response_body(body: bytes, *, more_body: bool = False) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": body, "more_body": more_body}


async def send_problem(
    scope: HTTPScope, send: ASGISendCallable, code: str, detail: str, *, param: str | None = None, began: float
) -> None:
    """Also closes the connection: the next bytes on it may be the rest of a body that nobody reads.

    began: when the request began, by `time.perf_counter`, for the log.
    """
    request_id = _new_request_id()
    content = {**problem(code, detail, param=param), "request_id": request_id}
    headers = [(b"connection", b"close")]
    if content["status"] in (429, 503):
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await _send(scope, send, content["status"], content, CONTENT_TYPE, request_id, headers, began=began)


async def send_json(scope: HTTPScope, send: ASGISendCallable, content: dict[str, Any], *, began: float) -> None:
    """A response 200. began: as above."""
    await _send(scope, send, 200, content, "application/json", _new_request_id(), [], began=began)


def _new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"


async def _send(
    scope: HTTPScope,
    send: ASGISendCallable,
    status: int,
    content: dict[str, Any],
    content_type: str,
    request_id: str,
    headers: list[tuple[bytes, bytes]],
    *,
    began: float,
) -> None:
    log_response(request_id, scope["method"], scope["path"], status, began=began)
    body = json.dumps(content).encode()
    common = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send(response_start(status, [*common, *headers]))
    await send(response_body(body))
