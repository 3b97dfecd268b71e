"""Reading of headers, and refusal of those that Python's or Django's parsers cannot handle.

Such headers raise unexpected exceptions, or take a time that grows with the square of their length. Everybody can send
them, without a key, to every path.
"""

import re
from collections.abc import Iterable

from asgiref.typing import WWWScope

Headers = list[tuple[bytes, bytes]]

MAX_MEDIA_TYPE_BYTES = 1000  # Browsers send about 150.
MEDIA_TYPES = {b"accept": "Accept", b"content-type": "Content-Type"}
# `name*=charset'language'value`: Python decodes it with the codec that it names, even one that yields no text.
EXTENDED_PARAMETER = re.compile(rb"\*\s*=")


class BadHeader(Exception):
    """The text is sent to the client."""


def header(scope: WWWScope, name: bytes) -> str:
    """The value of a header; several are joined by commas, as Django does. Empty if it was not sent."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def readable(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that Django can read. Raises BadHeader."""
    kept: Headers = []
    for name, value in headers:
        if name in MEDIA_TYPES:
            _check_media_type(MEDIA_TYPES[name], value)
        if name == b"cookie":
            # Python unquotes in quadratic time; none of our cookies contains a quote.
            value = b";".join(cookie for cookie in value.split(b";") if b'"' not in cookie)
        # Django takes `X_Api_Key` for `X-Api-Key`, and proxies set and remove only the second form.
        if b"_" not in name:
            kept.append((name, value))
    return kept


def _check_media_type(name: str, value: bytes) -> None:
    if len(value) > MAX_MEDIA_TYPE_BYTES:
        raise BadHeader(f"The header {name} has {len(value)} bytes; at most {MAX_MEDIA_TYPE_BYTES} are read.")
    if EXTENDED_PARAMETER.search(value):
        raise BadHeader(f"The header {name} has a parameter in the form `name*=`, which is not read.")
