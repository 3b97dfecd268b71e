"""Who may keep an answer, and what a browser may do with it: decided here for every answer, by its address."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

FRAMES = "frame-ancestors 'none'; base-uri 'none'"
NOTHING = f"default-src 'none'; style-src 'unsafe-inline'; {FRAMES}; form-action 'none'"
# Scripts are files of ours. Styles stand in the pages, too: Django's and the readers' own have `style` attributes.
PAGES = f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; {FRAMES}"
ADMIN = f"{PAGES}; connect-src 'self'; font-src 'self'; form-action 'self'"
READERS = f"{PAGES}; connect-src 'self'; font-src 'self' data:; worker-src blob:; form-action 'none'"
# A film, a sound or a picture that is opened by itself is a page, too: only that one file is shown in it.
MEDIA = f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox; {FRAMES}"


@dataclass(frozen=True)
class Rule:
    path: re.Pattern[str]
    content_security_policy: str
    cache_control: str = ""  # Empty: as the view says.
    vary: tuple[str, ...] = ()


# The first that matches counts.
RULES = [
    Rule(re.compile(r"/api/(docs|redoc)(/|$)"), READERS),
    Rule(re.compile(r"/api/schema(/|$)"), NOTHING),
    # A client keeps an ETag itself, and may send it: nothing in between has to keep the answer for that.
    Rule(re.compile(r"/api(/|$)"), NOTHING, "private, no-store", ("X-API-Key", "Authorization")),
    Rule(re.compile(r"/admin(/|$)"), ADMIN, "private, no-store", ("Cookie",)),
    # Asked for again each time, since a link may have ended; what has not changed is not sent again.
    Rule(re.compile(r"/media/"), MEDIA, "private, no-cache"),
    Rule(re.compile(r""), NOTHING),
]


class SecurityHeadersMiddleware:
    """The outermost that makes an answer's headers, so that errors and refusals have them, too."""

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
