"""Requests are UTF-8, whatever charset their Content-Type names.

So are JSON (RFC 8259, 8.1) and what browsers send of forms. Django would take any of Python's codecs, such as `rot13`
or `zlib`, for the query string, too; those that make no text end in a 500 while the request is still being made.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.http import parse_header_parameters


def install() -> None:
    HttpRequest._set_content_type_params = _ignoring_charset  # type: ignore[attr-defined]


def _ignoring_charset(self: HttpRequest, meta: dict[str, Any]) -> None:
    self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
