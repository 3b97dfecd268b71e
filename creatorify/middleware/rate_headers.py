"""Responses to a tenant whose key was accepted have the headers `RateLimit` and `RateLimit-Policy`."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.api.throttling import set_rate_headers


class RateHeadersMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        set_rate_headers(request, response)
        return response
