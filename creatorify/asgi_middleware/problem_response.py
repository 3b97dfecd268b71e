"""Errors that are answered before Django is asked, in the shape of the API's other errors (RFC 9457)."""

import json
import uuid
from typing import Any

from accounts.errors import CONTENT_TYPE, problem
from creatorify.asgi_middleware.asgi import Scope, Send
from creatorify.middleware.request_id import log_answer

RETRY_SECONDS = 30


async def send_problem(
    scope: Scope, send: Send, code: str, detail: str, *, param: str | None = None, began: float
) -> None:
    """Also closes the connection: what follows on it may be the rest of a body that nobody reads.

    began: when the request did, by `time.perf_counter`, for the log.
    """
    request_id = f"req_{uuid.uuid4().hex}"
    content: dict[str, Any] = {**problem(code, detail, param=param), "request_id": request_id}
    log_answer(request_id, scope["method"], scope["path"], content["status"], began=began)
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    if content["status"] in (429, 503):
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await send({"type": "http.response.start", "status": content["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
