"""Requests are read as UTF-8, whatever charset their Content-Type names.

JSON is UTF-8 (RFC 8259, 8.1), and browsers send forms in it. Django would use any codec of Python, such as `rot13` or
`zlib`, for the query string too; codecs that do not yield text would end in a 500.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.http import parse_header_parameters


def install() -> None:
    HttpRequest._set_content_type_params = _ignoring_charset  # type: ignore[attr-defined]


def _ignoring_charset(self: HttpRequest, meta: dict[str, Any]) -> None:
    self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
