"""The one shape of the API's errors, RFC 9457 problem details, whatever raised them: views, DRF or Django."""

import logging
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler as drf_exception_handler

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.errors import CONTENT_TYPE, PROBLEM_TYPES, ServiceError, problem
from render.node_faults import is_local_disk_error
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)

RATE_PROBLEM = "https://iana.org/assignments/http-problem-types#quota-exceeded"
API_PREFIX = "/api/"
RETRY_SECONDS = 30
MAX_ERRORS = 50  # in one response
MAX_DETAIL = 3000  # characters

# The first class that matches is used.
CODES: dict[type[Exception], str] = {
    exceptions.ParseError: "malformed",
    exceptions.AuthenticationFailed: "unauthenticated",
    exceptions.NotAuthenticated: "unauthenticated",
    exceptions.PermissionDenied: "insufficient_scope",
    PermissionDenied: "insufficient_scope",
    exceptions.NotFound: "not_found",
    Http404: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "rate_limited",
    RequestDataTooBig: "payload_too_large",
    **dict.fromkeys(DATABASE_UNAVAILABLE, "unavailable"),
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. None for a bug: Django logs it and calls `server_error`."""
    # DRF's handler rolls back the transaction, and knows the headers of DRF's exceptions.
    response = drf_exception_handler(exc, context)
    body = _problem_of(exc)
    if body is None:
        return None
    if isinstance(exc, StorageFailure):
        logger.error("Responded with 503: the media storage says %s", exc)
    elif body["status"] == 503:
        logger.error("Responded with 503: the database or this machine's disk failed", exc_info=exc)
    headers = {name: value for name, value in (response.items() if response else []) if name != "Content-Type"}
    request = context["request"]
    if body["status"] == 401:
        # HTTP requires this header with a 401.
        headers["WWW-Authenticate"] = context["view"].get_authenticate_header(request)
    if body["status"] in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    if body["code"] == "idempotency_in_progress":
        headers["Retry-After"] = "1"
    if isinstance(exc, exceptions.Throttled):
        body["type"] = RATE_PROBLEM
        body["violated-policies"] = [request.rate_window.policy]
    body["request_id"] = request.request_id
    return Response(body, status=body["status"], headers=headers, content_type=CONTENT_TYPE)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400, for requests that it refuses before any view, such as those with an unknown host."""
    if not request.path.startswith(API_PREFIX):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return _response(request, problem("payload_too_large", "The body is too large."))
    return _response(request, problem("malformed", "The request is malformed."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Django has logged the exception."""
    if not request.path.startswith(API_PREFIX):
        return defaults.server_error(request)
    return _response(request, problem("internal", "Something went wrong here. The error was logged."))


def unavailable(request: HttpRequest) -> HttpResponse:
    """The 503 of a view outside the API, if this machine, its disk or the database fails."""
    response = _response(request, problem("unavailable", "Temporarily unavailable."))
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


@csrf_exempt  # Without it, a POST to an unknown path would get an HTML page about CSRF.
def unknown_path(request: HttpRequest) -> HttpResponse:
    """Every path below /api that has no view."""
    return _response(request, problem("not_found", "There is nothing at this address."))


def _response(request: HttpRequest, body: dict[str, Any]) -> JsonResponse:
    body["request_id"] = request.request_id  # type: ignore[attr-defined]
    return JsonResponse(body, status=body["status"], content_type=CONTENT_TYPE)


def _problem_of(exc: Exception) -> dict[str, Any] | None:
    if isinstance(exc, ServiceError):
        return problem(exc.code, _shown(exc.detail, MAX_DETAIL), param=exc.param, retryable=exc.retryable)
    if isinstance(exc, exceptions.ValidationError):
        return _problem_of_validation(exc)
    if isinstance(exc, StorageFailure):
        return problem("unavailable", "The media storage cannot be used at the moment; ask again soon.")
    if isinstance(exc, OSError) and is_local_disk_error(exc):
        return problem("unavailable", "This server has no room to take the request now.")
    code = next((code for kind, code in CODES.items() if isinstance(exc, kind)), None)
    if code is None:
        return None
    if isinstance(exc, exceptions.NotAuthenticated):
        return problem(code, "Send an API key as X-API-Key: KEY, or as Authorization: Bearer KEY.")
    if isinstance(exc, exceptions.APIException) and code != "not_found":
        return problem(code, _shown(str(exc.detail)))
    return problem(code, f"{PROBLEM_TYPES[code].title}.")


def _problem_of_validation(exc: exceptions.ValidationError) -> dict[str, Any]:
    every = list(_flat(exc.detail))
    errors, first = every[:MAX_ERRORS], every[0]
    # A single error with a code of its own, such as `url_not_allowed`, is that problem; all others are `invalid`.
    alone = len(every) == 1 and first["code"] in PROBLEM_TYPES
    detail = " ".join(f"{error['param']}: {error['detail']}" if error["param"] else error["detail"] for error in errors)
    code = first["code"] if alone else "invalid"
    return {**problem(code, _shown(detail, MAX_DETAIL), param=first["param"]), "errors": errors}


def _shown(text: str, length: int = 300) -> str:
    """A text that may repeat input: shortened, and without lone surrogates, which are not valid UTF-8."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


def _flat(detail: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """DRF's nested errors as a flat sequence; `param` is the path of the field, such as `parameters.seed`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            inner_path = path if name == api_settings.NON_FIELD_ERRORS_KEY else f"{path}.{name}".lstrip(".")
            yield from _flat(inner, inner_path)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            yield from _flat(inner, f"{path}.{index}" if isinstance(inner, dict) and inner else path)
    else:
        yield {"param": _shown(path) or None, "code": detail.code, "detail": _shown(str(detail))}
