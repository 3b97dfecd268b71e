"""Every response carries a `Request-Id`, and so does every line that its request has logged."""

import logging
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

logger = logging.getLogger("creatorify.requests")

LINES_PER_SECOND = 20
HEALTH = "/healthz"  # Load balancers ask for it each second.
_current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = f"req_{uuid.uuid4().hex}"
        request.request_id = request_id  # type: ignore[attr-defined]
        began = time.perf_counter()
        token = _current.set(request_id)
        try:
            response = self.get_response(request)
            response["Request-Id"] = request_id
            _log(request.method or "", request.path, response.status_code, began)
            return response
        finally:
            _current.reset(token)


def log_answer(request_id: str, method: str, path: str, status: int, *, began: float) -> None:
    """For what is answered before Django is asked. began: by `time.perf_counter`.

    At most LINES_PER_SECOND: to be refused costs a stranger nothing, and must not fill the disk with lines.
    """
    if not _has_room():
        return
    token = _current.set(request_id)
    try:
        _log(method, path, status, began)
    finally:
        _current.reset(token)


_second, _lines = 0, 0  # The present second by the monotonic clock, and what it has had. Of the event loop alone.


def _has_room() -> bool:
    global _second, _lines
    now = int(time.monotonic())
    if now != _second:
        if _lines > LINES_PER_SECOND:
            logger.warning("%d more requests were refused in a second and not logged", _lines - LINES_PER_SECOND)
        _second, _lines = now, 0
    _lines += 1
    return _lines <= LINES_PER_SECOND


def _log(method: str, path: str, status: int, began: float) -> None:
    level = logging.WARNING if status >= 400 else logging.INFO
    if level > logging.INFO or path != HEALTH:
        # Never the query: it may hold a signature.
        logger.log(level, "%s %s %d %.0f ms", method, path, status, 1000 * (time.perf_counter() - began))


class RequestIdFilter(logging.Filter):
    """Adds the id of the request that is being answered to each record; "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs what has failed after the middleware, and gives the request along.
        request = getattr(record, "request", None)
        record.request_id = getattr(request, "request_id", None) or _current.get()
        return True
