"""Limit a tenant's requests per minute, and report the limit in the response headers.

DRF counts a request after it has accepted the API key and its scope. So 401 and 403 count for nothing and have no
`RateLimit`: a 401 belongs to no tenant.
"""

from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.api import request_rates
from accounts.api.request_rates import WINDOW_SECONDS, Window
from accounts.models import ApiKey

if TYPE_CHECKING:
    from rest_framework.views import APIView


class TenantThrottle(BaseThrottle):
    """A view lists in `creating_actions` its actions that start a render; these have a limit of their own."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, ApiKey):
            return True
        creates = getattr(view, "action", None) in getattr(view, "creating_actions", ())
        self._window = request_rates.count_request(request.auth.tenant, "create" if creates else "read")
        request._request.rate_window = self._window  # type: ignore[attr-defined]
        request._request.rate_tenant = request.auth.tenant  # type: ignore[attr-defined]
        return self._window.allowed

    def wait(self) -> float:
        return self._window.seconds_left


def set_rate_headers(request: HttpRequest, response: HttpResponse) -> None:
    """Set `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) if the request was counted."""
    window: Window | None = getattr(request, "rate_window", None)
    if window is None:
        return
    tenant = request.rate_tenant  # type: ignore[attr-defined]
    policies = [f'"{policy}";q={limit};w={WINDOW_SECONDS}' for policy, limit in request_rates.limits(tenant).items()]
    policies.append(f'"gpu";q={tenant.plan.max_concurrent};qu="concurrent-requests"')
    response["RateLimit-Policy"] = ", ".join(policies)
    response["RateLimit"] = f'"{window.policy}";r={window.remaining};t={window.seconds_left}'
