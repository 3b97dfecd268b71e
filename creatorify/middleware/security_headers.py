"""Caching and content security of every response, by its path: who may store it, and what a browser may do with it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

FRAMES = "frame-ancestors 'none'; base-uri 'none'"
NOTHING = f"default-src 'none'; style-src 'unsafe-inline'; {FRAMES}; form-action 'none'"
# Scripts are only our files. Styles may be in the page: Django's admin and the API docs have `style` attributes.
PAGES = f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; {FRAMES}"
ADMIN = f"{PAGES}; connect-src 'self'; font-src 'self'; form-action 'self'"
API_DOCS = f"{PAGES}; connect-src 'self'; font-src 'self' data:; worker-src blob:; form-action 'none'"
# A browser shows a video, sound or image in a page of its own, which may load only that file.
MEDIA = f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox; {FRAMES}"


@dataclass(frozen=True)
class Rule:
    path: re.Pattern[str]
    content_security_policy: str
    cache_control: str = ""  # empty: as the view sets it
    vary: tuple[str, ...] = ()


# The first rule that matches is used.
RULES = [
    Rule(re.compile(r"/api/(docs|redoc)(/|$)"), API_DOCS),
    Rule(re.compile(r"/api/schema(/|$)"), NOTHING),
    # no-store is for proxies in between; a client may keep the ETag and send it in If-None-Match.
    Rule(re.compile(r"/api(/|$)"), NOTHING, "private, no-store", ("X-API-Key", "Authorization")),
    Rule(re.compile(r"/admin(/|$)"), ADMIN, "private, no-store", ("Cookie",)),
    # no-cache: the browser asks each time, because the link may have expired; an unchanged file is not sent again.
    Rule(re.compile(r"/media/"), MEDIA, "private, no-cache"),
    Rule(re.compile(r""), NOTHING),
]


class SecurityHeadersMiddleware:
    """Outside all middleware that may respond itself, so that errors have the headers, too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        rule = next(rule for rule in RULES if rule.path.match(request.path))
        response["Content-Security-Policy"] = rule.content_security_policy
        if rule.cache_control:
            response["Cache-Control"] = rule.cache_control
            patch_vary_headers(response, rule.vary)
        return response
