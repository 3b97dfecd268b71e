"""Every response has a header `Request-Id`, and every log line of its request contains the same id."""

import logging
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from creatorify.logs.line_formatter import MAX_MESSAGE, without_secrets

logger = logging.getLogger("creatorify.requests")

HEALTH = "/healthz"  # Load balancers ask it every second, so success is not logged.
MAX_PATH = 200  # characters in a line
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
            _log(request.method or "", request.path, response.status_code, began, is_known=_is_known(request))
            return response
        finally:
            _current.reset(token)


def log_response(request_id: str, method: str, path: str, status: int, *, began: float) -> None:
    """For responses of the layers around Django. began: by `time.perf_counter`."""
    token = _current.set(request_id)
    try:
        _log(method, path, status, began, is_known=False)
    finally:
        _current.reset(token)


def _is_known(request: HttpRequest) -> bool:
    """Whether the request has a valid API key or the session of a user."""
    user = getattr(request, "_cached_user", None)  # Set if the view has read the user; no query just for the log.
    return getattr(request, "is_of_tenant", False) or (user is not None and user.is_authenticated)


def _log(method: str, path: str, status: int, began: float, *, is_known: bool) -> None:
    """Lines of requests that are not known are limited, see `creatorify.logs.line_limit`."""
    level = logging.WARNING if status >= 400 else logging.INFO
    if level > logging.INFO or path != HEALTH:
        # Never the query, which may contain a signature.
        shown = without_secrets(path[:MAX_MESSAGE])  # before it is shortened, which could leave half a secret
        shown = shown if len(shown) <= MAX_PATH else f"{shown[:MAX_PATH]}..."
        milliseconds = 1000 * (time.perf_counter() - began)
        logger.log(level, "%s %s %d %.0f ms", method, shown, status, milliseconds, extra={"is_known": is_known})


class RequestIdFilter(logging.Filter):
    """Adds the id of the current request to each record; "-" if there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs errors after the middleware has ended, and passes the request with the record.
        request = getattr(record, "request", None)
        record.request_id = getattr(request, "request_id", None) or _current.get()
        return True
